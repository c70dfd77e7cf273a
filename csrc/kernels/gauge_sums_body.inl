// What is compiled once per instruction set.
#include "simd.inl"
#include "gauge_sums.inl"

template <typename T>
const GaugeKernels<T>& gauge_table() {
  static const GaugeKernels<T> kernels{over_vertices<false, T>, over_vertices<true, T>};
  return kernels;
}
template const GaugeKernels<float>& gauge_table();
template const GaugeKernels<double>& gauge_table();
template const GaugeKernels<BFloat16>& gauge_table();
