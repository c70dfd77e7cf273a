// CPU kernel of channel_transform's weight gradient: checks, dtype, threads. The arithmetic is in kernels/.
#include <torch/csrc/stable/library.h>

#include "../check.h"
#include "../kernels/channel_plan.h"
#include "dtype.h"
#include "few_rows.h"

namespace multipath_gcn {
namespace {

using torch::stable::get_num_threads;
using torch::stable::parallel_for;

Tensor weight_grad(const Tensor& grad_, const Tensor& x_, const Tensor& start, const Tensor& order, int64_t width,
                   int64_t channel_dim) {
  check_channel_dim("x", x_, channel_dim);
  check_channel_dim("grad", grad_, channel_dim);
  const int64_t in_channels = channels(x_, channel_dim), out_channels = channels(grad_, channel_dim);
  check_like("grad", grad_, x_);
  check_windows(start, order, x_, in_channels, out_channels, width);
  STD_TORCH_CHECK(grad_.dim() == x_.dim(), "grad must have as many dimensions as x, got ", grad_.dim(), " and ", x_.dim());
  for (int64_t d = 0; d < x_.dim(); ++d)
    STD_TORCH_CHECK(d == (channel_dim == 1 ? 1 : x_.dim() - 1) || grad_.size(d) == x_.size(d),
                    "grad must have the shape of x but for the channels, got ", shape_text(grad_), " and ", shape_text(x_));
  if (x_.numel() == 0) return torch::stable::new_zeros(x_, {out_channels, width});
  Tensor dweight = torch::stable::new_empty(x_, {out_channels, width});
  dispatch(x_.scalar_type(), "channel_transform_weight_grad", [&](auto element) {
    using T = decltype(element);
    View<const T> x_view, grad_view;
    Tensor x = viewed(x_, channel_dim, x_view), grad = viewed(grad_, channel_dim, grad_view);
    if (const auto rows = x_view.rows() ? few_rows(grad_view) : std::nullopt) {
      if (rows->empty()) return dweight = torch::stable::new_zeros(x, {out_channels, width}), void();
      x = viewed(gathered(x, x_view, *rows), -1, x_view);
      grad = viewed(gathered(grad, grad_view, *rows), -1, grad_view);
    }
    const Windows windows = windows_of(start, order, in_channels, width);
    if (x_view.points() <= 2 * kFewPoints) {
      FewPointsJob<T> job{};
      job.windows = windows;
      job.x = x_view;
      job.grad = grad_view;
      job.weight_grad = static_cast<T*>(dweight.mutable_data_ptr());
      parallel_for(0, out_channels, 1 + kFewWorkAThread / (width * x_view.points()),
                   [&](int64_t begin, int64_t end) { kernels<T>().few_weight_grad(job, begin, end); });
      return;
    }
    const WeightGradPlan<T> plan(windows, x_view, grad_view, get_num_threads());
    constexpr int64_t kSize = sizeof(Accumulator<T>);
    Tensor partial = torch::stable::empty({plan.partial_size() * kSize}, ScalarType::Byte);
    const WeightGradJob<T> job = plan.job(static_cast<Accumulator<T>*>(partial.mutable_data_ptr()),
                                          static_cast<T*>(dweight.mutable_data_ptr()));
    const WeightGrad<T>& kernel = plan.kernel();
    parallel_for(0, plan.items(), 1, [&](int64_t begin, int64_t end) { kernel.run(job, begin, end); });
    parallel_for(0, plan.tiles(), plan.grain(), [&](int64_t begin, int64_t end) { kernel.finish(job, begin, end); });
  });
  return dweight;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) {
  m.impl("channel_transform_weight_grad", TORCH_BOX(&weight_grad));
}

}  // namespace
}  // namespace multipath_gcn
