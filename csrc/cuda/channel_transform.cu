// y[n, o] = act(bias[o] + sum_k weight[o, k] x[n, (start[o] + k) mod C]) on CUDA: checks, views and registration. The
// arithmetic is in band_fma.cuh and band_mma.cuh.
#include <torch/csrc/stable/library.h>

#include "tensors.cuh"

namespace multipath_gcn::gpu {
namespace {

struct Weight {
  const void* data;
  int64_t filter_stride, offset_stride, filters, width;
};

Tensor transform(const Tensor& x, const Weight& weight, const std::optional<Tensor>& bias, const Tensor& start,
                 const Tensor& order, int64_t channel_dim, bool relu) {
  const int64_t in_channels = channels(x, channel_dim);
  check_windows(start, order, x, in_channels, weight.filters, weight.width);
  if (bias) {
    check_like("bias", *bias, x);
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == weight.filters, "bias must have shape [", weight.filters, "], got ",
                    shape_text(*bias));
  }
  Tensor y = empty_like_with_channels(x, weight.filters, channel_dim);
  if (y.numel() == 0) return y;
  Launcher launcher(x);
  dispatch(x.scalar_type(), "channel_transform", [&](auto element) {
    using T = decltype(element);
    const bool rows = rows_wanted(x, channel_dim);
    BandArgs<T> args{};
    const Tensor in = viewed(x, channel_dim, rows, args.in);
    view_as(y, channel_dim, rows, args.out);
    std::optional<Tensor> near_bias;
    if (bias) near_bias = torch::stable::contiguous(*bias);
    args.weight = static_cast<const T*>(weight.data);
    args.filter_stride = weight.filter_stride;
    args.offset_stride = weight.offset_stride;
    args.bias = near_bias ? static_cast<const T*>(near_bias->const_data_ptr()) : nullptr;
    args.windows = windows_of(start, order, in_channels, weight.width);
    args.rows = rows;
    args.relu = relu;
    run_band(launcher, args);
  });
  return y;
}

Tensor channel_transform(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& start,
                         const Tensor& order, int64_t channel_dim, bool relu) {
  check_channel_dim("x", x, channel_dim);
  check_like("weight", weight, x);
  STD_TORCH_CHECK(weight.dim() == 2, "weight must have shape [O, K], got ", shape_text(weight));
  const Weight strided{weight.const_data_ptr(), weight.stride(0), weight.stride(1), weight.size(0), weight.size(1)};
  return transform(x, strided, bias, start, order, channel_dim, relu);
}

// The bytes of the weight: the kernels arrange it for themselves in a fraction of a call.
Tensor pack(const Tensor& weight, const Tensor& start, const Tensor& order, int64_t in_channels) {
  STD_TORCH_CHECK(weight.dim() == 2, "weight must have shape [O, K], got ", shape_text(weight));
  check_windows(start, order, weight, in_channels, weight.size(0), weight.size(1));
  const Launcher launcher(weight);
  const Tensor near = torch::stable::contiguous(weight);
  const int64_t bytes = near.numel() * near.element_size();
  Tensor packed = torch::stable::empty({bytes}, ScalarType::Byte, std::nullopt, weight.device());
  STD_CUDA_CHECK(cudaMemcpyAsync(packed.mutable_data_ptr(), near.const_data_ptr(), bytes, cudaMemcpyDeviceToDevice,
                                 launcher.stream()));
  return packed;
}

Tensor channel_transform_packed(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, const Tensor& start,
                                const Tensor& order, int64_t out_channels, int64_t width, int64_t channel_dim, bool relu) {
  check_channel_dim("x", x, channel_dim);
  check_windows(start, order, x, channels(x, channel_dim), out_channels, width);
  const int64_t bytes = out_channels * width * static_cast<int64_t>(x.element_size());
  STD_TORCH_CHECK(packed.scalar_type() == ScalarType::Byte && packed.dim() == 1 && packed.is_contiguous() &&
                      packed.numel() == bytes && packed.is_cuda() == x.is_cuda() && packed.get_device() == x.get_device(),
                  "packed must be the result of channel_transform_pack for these windows, dtype and device (", bytes,
                  " bytes), got ", shape_text(packed));
  const Weight rows{packed.const_data_ptr(), width, 1, out_channels, width};
  return transform(x, rows, bias, start, order, channel_dim, relu);
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CUDA, m) {
  m.impl("channel_transform", TORCH_BOX(&channel_transform));
  m.impl("channel_transform_pack", TORCH_BOX(&pack));
  m.impl("channel_transform_packed", TORCH_BOX(&channel_transform_packed));
}

}  // namespace
}  // namespace multipath_gcn::gpu
