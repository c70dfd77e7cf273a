// Everything about convolution that is compiled once per instruction set.
#include "simd.inl"
#include "bits.inl"
#include "grouped_conv2d_rows.inl"
#include "grouped_conv2d_lanes.inl"
#include "grouped_conv2d_tape.inl"
#include "grouped_conv2d_weight_grad.inl"

template <typename T>
const ConvKernels<T>& conv_table() {
  static const ConvKernels<T> kernels{kLanes<Accumulator<T>>, {conv_rows<T>, conv_lanes<T>, conv_tape<T>}, pack_lanes<T>,
                                      conv_weight_grad<T>};
  return kernels;
}

template const ConvKernels<float>& conv_table();
template const ConvKernels<double>& conv_table();
template const ConvKernels<BFloat16>& conv_table();
