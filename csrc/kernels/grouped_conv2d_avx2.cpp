#include <algorithm>
#include <type_traits>

#include "uneven_conv2d.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace multipath_gcn {
namespace avx2 {

#include "targets/avx2.inl"
#include "grouped_conv2d_body.inl"

}  // namespace avx2
}  // namespace multipath_gcn
#endif
