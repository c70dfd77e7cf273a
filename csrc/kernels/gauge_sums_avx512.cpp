#include <algorithm>
#include <type_traits>

#include "gauge_sums.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace multipath_gcn {
namespace avx512 {

#include "targets/avx512.inl"
#include "gauge_sums_body.inl"

}  // namespace avx512
}  // namespace multipath_gcn
#endif
