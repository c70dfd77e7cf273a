#include <algorithm>
#include <type_traits>

#include "gauge_sums.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace multipath_gcn {
namespace avx2 {

#include "targets/avx2.inl"
#include "gauge_sums_body.inl"

}  // namespace avx2
}  // namespace multipath_gcn
#endif
