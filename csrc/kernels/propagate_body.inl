// Everything about propagation that is compiled once per instruction set.
#include "simd.inl"
#include "bits.inl"
#include "philox.inl"
#include "activate.inl"
#include "transpose.inl"
#include "propagate.inl"
#include "propagate_extreme.inl"
#include "propagate_weight_grad.inl"

template <typename T, typename I>
const PropagateKernels<T, I>& propagate_table() {
  static const PropagateKernels<T, I> kernels{sum<T, I>, extreme<T, I>, extreme_grad<T, I>, weight_grad<T, I>};
  return kernels;
}
template <typename T>
const ActivateKernels<T>& activate_table() {
  static const ActivateKernels<T> kernels{kLanes<Accumulator<T>>, activate<T>, activate_grad<T>, combine<T>,
                                          transposed<T>};
  return kernels;
}

#define TABLES(T)                                              \
  template const PropagateKernels<T, int32_t>& propagate_table(); \
  template const PropagateKernels<T, int64_t>& propagate_table(); \
  template const ActivateKernels<T>& activate_table();
TABLES(float)
TABLES(double)
TABLES(BFloat16)
