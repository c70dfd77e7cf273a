// CPU kernels of channel_transform and its input gradient: checks, dtype, tiles of points, threads. The arithmetic is in
// kernels/.
#include <torch/csrc/stable/library.h>

#include "../check.h"
#include "../kernels/channel_plan.h"
#include "dtype.h"
#include "few_rows.h"
#include "huge_pages.h"
#include "packed_transform.h"

namespace multipath_gcn {
namespace {

using torch::stable::get_num_threads;
using torch::stable::parallel_for;

template <typename T>
Weight<T> as_it_lies(const Tensor& weight) {
  return {static_cast<const T*>(weight.const_data_ptr()), weight.stride(0), weight.stride(1)};
}

template <typename T>
void pack(const TransformPlan<T>& plan, const Weight<T>& weight, void* memory) {
  plan.pack(weight, memory, [](int64_t count, int64_t grain, auto&& body) { parallel_for(0, count, grain, body); });
}

// packed: by an earlier call, or null.
template <typename T>
void run(const TransformPlan<T>& plan, const Weight<T>& weight, const void* packed, const std::optional<Tensor>& bias,
         bool relu, const Tensor& x_, const Tensor& y, int64_t channel_dim) {
  View<const T> in;
  View<T> out;
  const Tensor x = viewed(x_, channel_dim, in);
  view_of(y, channel_dim, out);
  std::vector<Accumulator<T>> wide_bias;
  if (bias) wide_bias = widened<T>(*bias);
  TransformJob<T> job = plan.job(weight, bias ? wide_bias.data() : nullptr, relu, in, out, get_num_threads());
  Tensor memory;
  if (!packed && plan.packs_once(job)) {
    memory = torch::stable::empty({plan.bytes()}, ScalarType::Byte);
    packed = memory.mutable_data_ptr();
    pack(plan, weight, memory.mutable_data_ptr());
  }
  if (packed) plan.use(job, packed);
  parallel_for(0, job.points.count * job.groups, 1,
               [&](int64_t begin, int64_t end) { kernels<T>().transform(job, begin, end); });
}

int64_t points_of(const Tensor& x, int64_t channel_dim) { return x.numel() / channels(x, channel_dim); }

// Few points: nothing is packed. The weight's taps lie side by side.
template <typename T>
void run_few(const Windows& windows, bool transposed, const T* weight, int64_t filter_stride, const std::optional<Tensor>& bias,
             bool relu, const Tensor& x_, const Tensor& y, int64_t channel_dim) {
  FewPointsJob<T> job{};
  job.windows = windows;
  job.weight = weight;
  job.filter_stride = filter_stride;
  job.relu = relu;
  const Tensor x = viewed(x_, channel_dim, job.x);
  view_of(y, channel_dim, job.out);
  std::vector<Accumulator<T>> wide_bias;
  if (bias) wide_bias = widened<T>(*bias);
  job.bias = bias ? wide_bias.data() : nullptr;
  const Kernels<T>& k = kernels<T>();
  const auto grain = [](int64_t work) { return 1 + kFewWorkAThread / work; };
  const int64_t points = job.x.points(), width = windows.width;
  if (transposed) {
    parallel_for(0, points, grain(windows.out_channels * width),
                 [&](int64_t begin, int64_t end) { k.few_input_grad(job, begin, end); });
  } else {
    parallel_for(0, windows.out_channels, grain(width * points),
                 [&](int64_t begin, int64_t end) { k.few_forward(job, begin, end); });
  }
}

void check_out_rows(const Tensor& out, const Tensor& x, int64_t out_channels, int64_t channel_dim) {
  STD_TORCH_CHECK(channel_dim == -1, "channel_dim must be -1 (rows) where out is given, got ", channel_dim);
  std::vector<int64_t> sizes;
  for (int64_t d = 0; d + 1 < x.dim(); ++d) sizes.push_back(x.size(d));
  sizes.push_back(out_channels);
  check_out(out, x, sizes);
}

void check_weight(const Tensor& weight) {
  STD_TORCH_CHECK(weight.dim() == 2, "weight must have shape [O, K], got ", shape_text(weight));
}

void check_bias(const std::optional<Tensor>& bias, const Tensor& x, int64_t out_channels) {
  if (!bias) return;
  check_like("bias", *bias, x);
  STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == out_channels, "bias must have shape [", out_channels, "], got ",
                  shape_text(*bias));
}

// Into out, which is rows, or into new memory.
Tensor transform(const std::optional<Tensor>& out, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                 const Tensor& start, const Tensor& order, int64_t channel_dim, bool relu) {
  check_channel_dim("x", x, channel_dim);
  check_weight(weight);
  const int64_t in_channels = channels(x, channel_dim), out_channels = weight.size(0);
  check_like("weight", weight, x);
  check_windows(start, order, x, in_channels, out_channels, weight.size(1));
  check_bias(bias, x, out_channels);
  if (out) check_out_rows(*out, x, out_channels, channel_dim);
  Tensor y = on_huge_pages(out ? *out : empty_like_with_channels(x, out_channels, channel_dim));
  if (y.numel() == 0) return y;
  dispatch(x.scalar_type(), "channel_transform", [&](auto element) {
    using T = decltype(element);
    const Windows windows = windows_of(start, order, in_channels, weight.size(1));
    if (few_are_faster<T>(points_of(x, channel_dim), weight.size(1))) {
      const Tensor taps = torch::stable::contiguous(weight);
      return run_few(windows, false, static_cast<const T*>(taps.const_data_ptr()), taps.size(1), bias, relu, x, y, channel_dim);
    }
    run<T>(TransformPlan<T>(windows, false), as_it_lies<T>(weight), nullptr, bias, relu, x, y, channel_dim);
  });
  return y;
}

Tensor channel_transform(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& start,
                         const Tensor& order, int64_t channel_dim, bool relu) {
  return transform(std::nullopt, x, weight, bias, start, order, channel_dim, relu);
}
void channel_transform_out(const Tensor& out, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
                           const Tensor& start, const Tensor& order, int64_t channel_dim, bool relu) {
  transform(out, x, weight, bias, start, order, channel_dim, relu);
}

Tensor input_grad_of(const std::optional<Tensor>& out, const Tensor& grad, const Tensor& weight, const Tensor& start,
                     const Tensor& order, int64_t in_channels, int64_t channel_dim) {
  check_channel_dim("grad", grad, channel_dim);
  check_weight(weight);
  const int64_t out_channels = weight.size(0);
  STD_TORCH_CHECK(channels(grad, channel_dim) == out_channels, "grad must have ", out_channels, " channels, got ",
                  shape_text(grad));
  check_like("weight", weight, grad);
  check_windows(start, order, grad, in_channels, out_channels, weight.size(1));
  if (out) check_out_rows(*out, grad, in_channels, channel_dim);
  Tensor dx = on_huge_pages(out ? *out : empty_like_with_channels(grad, in_channels, channel_dim));
  if (dx.numel() == 0) return dx;
  dispatch(grad.scalar_type(), "channel_transform_input_grad", [&](auto element) {
    using T = decltype(element);
    const Windows windows = windows_of(start, order, in_channels, weight.size(1));
    if (few_input_grad_is_faster<T>(points_of(grad, channel_dim), weight.size(1))) {
      const Tensor taps = torch::stable::contiguous(weight);
      return run_few(windows, true, static_cast<const T*>(taps.const_data_ptr()), taps.size(1), std::nullopt, false, grad, dx,
                     channel_dim);
    }
    const TransformPlan<T> plan(windows, true);
    View<const T> in;
    const auto rows = channel_dim == -1 && view_of(grad, channel_dim, in) ? few_rows(in) : std::nullopt;
    if (rows) {
      const Tensor few = torch::stable::new_empty(grad, {static_cast<int64_t>(rows->size()), in_channels});
      if (!rows->empty()) run<T>(plan, as_it_lies<T>(weight), nullptr, std::nullopt, false, gathered(grad, in, *rows), few, -1);
      View<T> all;
      view_of(dx, channel_dim, all);
      return spread(few, *rows, all);
    }
    run<T>(plan, as_it_lies<T>(weight), nullptr, std::nullopt, false, grad, dx, channel_dim);
  });
  return dx;
}

Tensor input_grad(const Tensor& grad, const Tensor& weight, const Tensor& start, const Tensor& order, int64_t in_channels,
                  int64_t channel_dim) {
  return input_grad_of(std::nullopt, grad, weight, start, order, in_channels, channel_dim);
}
void input_grad_out(const Tensor& out, const Tensor& grad, const Tensor& weight, const Tensor& start, const Tensor& order,
                    int64_t in_channels, int64_t channel_dim) {
  input_grad_of(out, grad, weight, start, order, in_channels, channel_dim);
}

Tensor packed_weight(const Tensor& weight, const Tensor& start, const Tensor& order, int64_t in_channels) {
  check_weight(weight);
  check_windows(start, order, weight, in_channels, weight.size(0), weight.size(1));
  Tensor packed = weight;
  dispatch(weight.scalar_type(), "channel_transform_pack", [&](auto element) {
    using T = decltype(element);
    const TransformPlan<T> plan(windows_of(start, order, in_channels, weight.size(1)), false);
    const Tensor taps = torch::stable::contiguous(weight);
    const int64_t plain = taps.numel() * static_cast<int64_t>(sizeof(T));
    packed = torch::stable::empty({plan.bytes() + plain}, ScalarType::Byte);
    char* const memory = static_cast<char*>(packed.mutable_data_ptr());
    pack(plan, as_it_lies<T>(weight), memory);
    std::memcpy(memory + plan.bytes(), taps.const_data_ptr(), plain);  // for few points
  });
  return packed;
}

Tensor channel_transform_packed(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias, const Tensor& start,
                                const Tensor& order, int64_t out_channels, int64_t width, int64_t channel_dim, bool relu) {
  check_channel_dim("x", x, channel_dim);
  const int64_t in_channels = channels(x, channel_dim);
  check_windows(start, order, x, in_channels, out_channels, width);
  check_bias(bias, x, out_channels);
  Tensor y = on_huge_pages(empty_like_with_channels(x, out_channels, channel_dim));
  if (y.numel() == 0) return y;
  dispatch(x.scalar_type(), "channel_transform_packed", [&](auto element) {
    using T = decltype(element);
    const Windows windows = windows_of(start, order, in_channels, width);
    const TransformPlan<T> plan(windows, false);
    const PackedTransform<T> of = packed_transform(packed, plan, out_channels, width);
    if (few_are_faster<T>(points_of(x, channel_dim), width))
      return run_few(windows, false, of.taps, width, bias, relu, x, y, channel_dim);
    run<T>(plan, Weight<T>{}, of.tiles, bias, relu, x, y, channel_dim);
  });
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) {
  m.impl("channel_transform", TORCH_BOX(&channel_transform));
  m.impl("channel_transform_input_grad", TORCH_BOX(&input_grad));
  m.impl("channel_transform_out", TORCH_BOX(&channel_transform_out));
  m.impl("channel_transform_input_grad_out", TORCH_BOX(&input_grad_out));
  m.impl("channel_transform_pack", TORCH_BOX(&packed_weight));
  m.impl("channel_transform_packed", TORCH_BOX(&channel_transform_packed));
}

}  // namespace
}  // namespace multipath_gcn
