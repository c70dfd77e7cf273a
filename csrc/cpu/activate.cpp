// CPU kernels of activate, its gradient and combine: checks, dtype, threads. The arithmetic is in kernels/.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "activation.h"
#include "huge_pages.h"

namespace multipath_gcn {
namespace {

using torch::stable::parallel_for;

constexpr int64_t kGrain = 1 << 15;  // values worth waking a thread for

// Into out or into new memory.
std::tuple<Tensor, Tensor> activated(const std::optional<Tensor>& out, const Tensor& x_, const ActivationArgs& args) {
  check_features("x", x_);
  check_activation(args, x_);
  const Tensor x = rows_of(x_);
  const int64_t rows = x.size(0), features = x.size(1);
  if (out) check_out(*out, x, {rows, features});
  Tensor y = on_huge_pages(out ? *out : torch::stable::new_empty(x, {rows, features}));
  Tensor kept = empty_kept(x, rows, args);
  if (y.numel() == 0) return {y, kept};
  dispatch(x.scalar_type(), "activate", [&](auto element) {
    using T = decltype(element);
    const ActivationOperands<T> last(args, kept);
    const ActivateJob<T> job{static_cast<const T*>(x.const_data_ptr()), row_stride(x), features,
                             static_cast<T*>(y.mutable_data_ptr()), last.activation};
    parallel_for(0, rows, 1 + kGrain / features,
                 [&](int64_t begin, int64_t end) { activate_kernels<T>().activate(job, begin, end); });
  });
  return {y, kept};
}

std::tuple<Tensor, Tensor> activate(const Tensor& x, const std::optional<Tensor>& bias, bool relu, double dropout,
                                    const std::optional<Tensor>& seed) {
  return activated(std::nullopt, x, {bias, relu, dropout, seed});
}
Tensor activate_out(const Tensor& out, const Tensor& x, const std::optional<Tensor>& bias, bool relu, double dropout,
                    const std::optional<Tensor>& seed) {
  return std::get<1>(activated(out, x, {bias, relu, dropout, seed}));
}

// Into dx, or sums only.
Tensor grad_of(const std::optional<Tensor>& dx, const Tensor& grad_, const Tensor& kept, double dropout) {
  check_features("grad", grad_);
  check_dropout(dropout);
  const bool masks = check_kept(kept, grad_);
  const Tensor grad = rows_of(grad_);
  const int64_t rows = grad.size(0), features = grad.size(1);
  Tensor dbias = torch::stable::new_empty(grad, {features});
  dispatch(grad.scalar_type(), "activate_grad", [&](auto element) {
    using T = decltype(element);
    using A = Accumulator<T>;
    const int64_t sums = (rows + kRowsPerSum - 1) / kRowsPerSum;
    std::vector<A> partial(sums * features);
    const ActivateGradJob<T> job{static_cast<const T*>(grad.const_data_ptr()), row_stride(grad), rows, features,
                                 masks ? static_cast<const uint8_t*>(kept.const_data_ptr()) : nullptr,
                                 static_cast<A>(1 / (1 - dropout)), dx ? static_cast<T*>(dx->mutable_data_ptr()) : nullptr, partial.data()};
    parallel_for(0, sums, 1 + kGrain / (kRowsPerSum * std::max<int64_t>(1, features)),
                 [&](int64_t begin, int64_t end) { activate_kernels<T>().activate_grad(job, begin, end); });
    T* const out = static_cast<T*>(dbias.mutable_data_ptr());
    for (int64_t f = 0; f < features; ++f) {
      A total = 0;
      for (int64_t s = 0; s < sums; ++s) total += partial[s * features + f];
      out[f] = narrow<T>(total);
    }
  });
  return dbias;
}

std::tuple<Tensor, Tensor> activate_grad(const Tensor& grad, const Tensor& kept, double dropout) {
  check_features("grad", grad);
  Tensor dx = on_huge_pages(torch::stable::new_empty(grad, {grad.size(0), grad.size(1)}));
  return {dx, grad_of(dx, grad, kept, dropout)};
}
Tensor activate_bias_grad(const Tensor& grad, const Tensor& kept, double dropout) {
  return grad_of(std::nullopt, grad, kept, dropout);
}

Tensor combine(const std::vector<Tensor>& parts_, double scale) {
  check_parts(parts_);
  const Tensor& first = parts_[0];
  const int64_t rows = first.size(0), features = first.size(1);
  std::vector<Tensor> parts;
  for (const Tensor& part : parts_) parts.push_back(rows_of(part));
  Tensor y = on_huge_pages(torch::stable::new_empty(first, {rows, features}));
  if (y.numel() == 0) return y;
  dispatch(first.scalar_type(), "combine", [&](auto element) {
    using T = decltype(element);
    std::vector<const T*> data;
    std::vector<int64_t> strides;
    for (const Tensor& part : parts) {
      data.push_back(static_cast<const T*>(part.const_data_ptr()));
      strides.push_back(row_stride(part));
    }
    const CombineJob<T> job{data.data(), strides.data(), static_cast<int64_t>(parts.size()), features,
                            static_cast<Accumulator<T>>(scale), static_cast<T*>(y.mutable_data_ptr())};
    parallel_for(0, rows, 1 + kGrain / features,
                 [&](int64_t begin, int64_t end) { activate_kernels<T>().combine(job, begin, end); });
  });
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) {
  m.impl("activate", TORCH_BOX(&activate));
  m.impl("activate_out", TORCH_BOX(&activate_out));
  m.impl("activate_grad", TORCH_BOX(&activate_grad));
  m.impl("activate_bias_grad", TORCH_BOX(&activate_bias_grad));
  m.impl("combine", TORCH_BOX(&combine));
}

}  // namespace
}  // namespace multipath_gcn
