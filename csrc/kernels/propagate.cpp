// The tables of the chosen instruction set.
#include "propagate.h"

#include "isa.h"

namespace multipath_gcn {

#define DECLARE_TABLES                                \
  template <typename T, typename I>                   \
  const PropagateKernels<T, I>& propagate_table();    \
  template <typename T>                               \
  const ActivateKernels<T>& activate_table();

namespace baseline {
DECLARE_TABLES
}
#if defined(__x86_64__)
namespace avx2 {
DECLARE_TABLES
}
namespace avx512 {
DECLARE_TABLES
}
#endif

// bfloat16 is only stored and widened here, which AVX-512-BF16 has nothing to add to.
template <typename T, typename I>
const PropagateKernels<T, I>& propagate_kernels() {
#if defined(__x86_64__)
  if (chosen_isa() >= Isa::avx512) return avx512::propagate_table<T, I>();
  if (chosen_isa() == Isa::avx2) return avx2::propagate_table<T, I>();
#endif
  return baseline::propagate_table<T, I>();
}
template <typename T>
const ActivateKernels<T>& activate_kernels() {
#if defined(__x86_64__)
  if (chosen_isa() >= Isa::avx512) return avx512::activate_table<T>();
  if (chosen_isa() == Isa::avx2) return avx2::activate_table<T>();
#endif
  return baseline::activate_table<T>();
}

#define DEFINE(T)                                                      \
  template const PropagateKernels<T, int32_t>& propagate_kernels();    \
  template const PropagateKernels<T, int64_t>& propagate_kernels();    \
  template const ActivateKernels<T>& activate_kernels();
DEFINE(float)
DEFINE(double)
DEFINE(BFloat16)

}  // namespace multipath_gcn
