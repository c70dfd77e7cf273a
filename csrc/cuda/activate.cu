// y[i, f] = drop(relu(x[i, f] + bias[f])) and its gradients on CUDA: checks, views and registration. The arithmetic is
// in activate.cuh.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "rows.cuh"

namespace multipath_gcn::gpu {
namespace {

Tensor contiguous_like(const Tensor& t) { return torch::stable::new_empty(t, {t.size(0), t.size(1)}); }

std::tuple<Tensor, Tensor> activate(const Tensor& x, const std::optional<Tensor>& bias, bool relu, double dropout,
                                    const std::optional<Tensor>& seed) {
  const ActivationArgs activation{bias, relu, dropout, seed};
  check_features("x", x);
  check_activation(activation, x);
  const Tensor y = contiguous_like(x), kept = empty_kept(x, x.size(0), activation);
  if (y.numel() == 0) return {y, kept};
  Launcher launcher(x);
  const std::optional<Tensor> near_bias = contiguous(bias);
  const Tensor rows = rows_for(x, word_elements(x.size(1), static_cast<int>(x.element_size())));
  dispatch(x.scalar_type(), "activate", [&](auto element) {
    using T = decltype(element);
    ActivateArgs<T> args{};
    args.x = data<const T>(rows);
    args.x_stride = rows.stride(0);
    args.rows = x.size(0);
    args.y = data<T>(y);
    run_activate(launcher, args, x.size(1), activation_of<T>(activation, near_bias, kept));
  });
  return {y, kept};
}

std::tuple<Tensor, Tensor> activate_grad(const Tensor& grad, const Tensor& kept, double dropout) {
  check_features("grad", grad);
  check_dropout(dropout);
  const bool bits = check_kept(kept, grad);
  const Tensor dx = contiguous_like(grad);
  if (grad.numel() == 0) return {dx, torch::stable::new_zeros(grad, {grad.size(1)})};
  const Tensor dbias = torch::stable::new_empty(grad, {grad.size(1)});
  Launcher launcher(grad);
  const Tensor rows = rows_for(grad, word_elements(grad.size(1), static_cast<int>(grad.element_size())));
  dispatch(grad.scalar_type(), "activate_grad", [&](auto element) {
    using T = decltype(element);
    ActivateGradArgs<T> args{};
    args.grad = data<const T>(rows);
    args.grad_stride = rows.stride(0);
    args.rows = grad.size(0);
    args.kept = bits ? data<const uint8_t>(kept) : nullptr;
    args.scale = static_cast<Accumulate<T>>(1 / (1 - dropout));
    args.dx = data<T>(dx);
    run_activate_grad(launcher, args, grad.size(1), data<T>(dbias));
  });
  return {dx, dbias};
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CUDA, m) {
  m.impl("activate", TORCH_BOX(&activate));
  m.impl("activate_grad", TORCH_BOX(&activate_grad));
}

}  // namespace
}  // namespace multipath_gcn::gpu
