#include <algorithm>
#include <type_traits>

#include "uneven_conv2d.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace multipath_gcn {
namespace avx512 {

#include "targets/avx512.inl"
#include "grouped_conv2d_body.inl"

}  // namespace avx512
}  // namespace multipath_gcn
#endif
