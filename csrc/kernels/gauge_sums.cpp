// The table of the chosen instruction set.
#include "gauge_sums.h"

#include "isa.h"

namespace multipath_gcn {

namespace baseline {
template <typename T>
const GaugeKernels<T>& gauge_table();
}
#if defined(__x86_64__)
namespace avx2 {
template <typename T>
const GaugeKernels<T>& gauge_table();
}
namespace avx512 {
template <typename T>
const GaugeKernels<T>& gauge_table();
}
#endif

template <typename T>
const GaugeKernels<T>& gauge_kernels() {
#if defined(__x86_64__)
  if (chosen_isa() >= Isa::avx512) return avx512::gauge_table<T>();
  if (chosen_isa() == Isa::avx2) return avx2::gauge_table<T>();
#endif
  return baseline::gauge_table<T>();
}

template const GaugeKernels<float>& gauge_kernels();
template const GaugeKernels<double>& gauge_kernels();
template const GaugeKernels<BFloat16>& gauge_kernels();

}  // namespace multipath_gcn
