// dweight[o, k] = sum_n grad[n, o] x[n, (start[o] + k) mod C] on CUDA: checks, views and registration. The arithmetic is in
// weight_grad_fma.cuh and weight_grad_mma.cuh.
#include <torch/csrc/stable/library.h>

#include "tensors.cuh"

namespace multipath_gcn::gpu {
namespace {

Tensor weight_grad(const Tensor& grad, const Tensor& x, const Tensor& start, const Tensor& order, int64_t width,
                   int64_t channel_dim) {
  check_channel_dim("x", x, channel_dim);
  check_channel_dim("grad", grad, channel_dim);
  check_like("grad", grad, x);
  const int64_t in_channels = channels(x, channel_dim), out_channels = channels(grad, channel_dim);
  check_windows(start, order, x, in_channels, out_channels, width);
  STD_TORCH_CHECK(grad.dim() == x.dim(), "grad must have as many dimensions as x, got ", grad.dim(), " and ", x.dim());
  for (int64_t d = 0; d < x.dim(); ++d)
    STD_TORCH_CHECK(d == (channel_dim == 1 ? 1 : x.dim() - 1) || grad.size(d) == x.size(d),
                    "grad must have the shape of x but for the channels, got ", shape_text(grad), " and ", shape_text(x));
  if (x.numel() == 0) return torch::stable::new_zeros(x, {out_channels, width});
  Tensor dweight = torch::stable::new_empty(x, {out_channels, width});
  Launcher launcher(x);
  dispatch(x.scalar_type(), "channel_transform_weight_grad", [&](auto element) {
    using T = decltype(element);
    WeightGradArgs<T> args{};
    args.rows = channel_dim == -1 || view_as(x, channel_dim, true, args.x);
    const Tensor near_x = viewed(x, channel_dim, args.rows, args.x);
    const Tensor near_grad = viewed(grad, channel_dim, args.rows, args.grad);
    args.windows = windows_of(start, order, in_channels, width);
    run_weight_grad(launcher, args, static_cast<T*>(dweight.mutable_data_ptr()));
  });
  return dweight;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CUDA, m) { m.impl("channel_transform_weight_grad", TORCH_BOX(&weight_grad)); }

}  // namespace
}  // namespace multipath_gcn::gpu
