// dx[n, c] = sum over (o, k) with (start[o] + k) mod C = c of weight[o, k] grad[n, o] on CUDA: checks, views and
// registration. The arithmetic is the forward's, with filters and channels exchanged (window.cuh).
#include <torch/csrc/stable/library.h>

#include "tensors.cuh"

namespace multipath_gcn::gpu {
namespace {

Tensor input_grad(const Tensor& grad, const Tensor& weight, const Tensor& start, const Tensor& order, int64_t in_channels,
                  int64_t channel_dim) {
  check_channel_dim("grad", grad, channel_dim);
  check_like("weight", weight, grad);
  STD_TORCH_CHECK(weight.dim() == 2, "weight must have shape [O, K], got ", shape_text(weight));
  STD_TORCH_CHECK(channels(grad, channel_dim) == weight.size(0), "grad must have ", weight.size(0), " channels, got ",
                  shape_text(grad));
  check_windows(start, order, grad, in_channels, weight.size(0), weight.size(1));
  Tensor dx = empty_like_with_channels(grad, in_channels, channel_dim);
  if (dx.numel() == 0) return dx;
  Launcher launcher(grad);
  dispatch(grad.scalar_type(), "channel_transform_input_grad", [&](auto element) {
    using T = decltype(element);
    const bool rows = rows_wanted(grad, channel_dim);
    BandArgs<T> args{};
    const Tensor in = viewed(grad, channel_dim, rows, args.in);
    view_as(dx, channel_dim, rows, args.out);
    args.weight = static_cast<const T*>(weight.const_data_ptr());
    args.filter_stride = weight.stride(0);
    args.offset_stride = weight.stride(1);
    args.windows = windows_of(start, order, in_channels, weight.size(1));
    args.grad = true;
    args.rows = rows;
    run_band(launcher, args);
  });
  return dx;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CUDA, m) { m.impl("channel_transform_input_grad", TORCH_BOX(&input_grad)); }

}  // namespace
}  // namespace multipath_gcn::gpu
