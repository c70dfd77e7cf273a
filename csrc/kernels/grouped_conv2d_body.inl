// Everything about convolution that is compiled once per instruction set.
#include "simd.inl"
#include "bits.inl"
#include "grouped_conv2d_store.inl"
#include "grouped_conv2d_rows.inl"
#include "grouped_conv2d_lanes.inl"
#include "grouped_conv2d_tape.inl"
#include "uneven_conv2d.inl"
#include "grouped_conv2d_rows_weight_grad.inl"
#include "grouped_conv2d_lanes_weight_grad.inl"
#include "grouped_conv2d_tape_weight_grad.inl"

template <typename T>
const ConvKernels<T>& conv_table() {
  static const ConvKernels<T> kernels{kLanes<Accumulator<T>>,
                                      {conv_rows<T>, conv_lanes<T>, conv_tape<T>},
                                      pack_lanes<T>,
                                      {conv_rows_weight_grad<T>, conv_lanes_weight_grad<T>, conv_tape_weight_grad<T>},
                                      conv_uneven<T>};
  return kernels;
}

template const ConvKernels<float>& conv_table();
template const ConvKernels<double>& conv_table();
template const ConvKernels<BFloat16>& conv_table();
