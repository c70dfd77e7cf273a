// CPU kernel of separable_conv2d: checks, dtype, threads. The arithmetic is in kernels/.
#include "../kernels/separable_conv2d.h"

#include <torch/csrc/stable/library.h>

#include "../check_conv.h"
#include "dtype.h"
#include "packed_conv.h"
#include "packed_transform.h"

namespace multipath_gcn {
namespace {

// depthwise: of grouped_conv2d_pack, pointwise: of channel_transform_pack.
Tensor separable_conv2d(const Tensor& x, const Tensor& depthwise, const std::optional<Tensor>& depthwise_bias,
                        const Tensor& pointwise, const std::optional<Tensor>& bias, const Tensor& start, const Tensor& order,
                        int64_t out_channels, int64_t width, int64_t out_height, int64_t out_width, bool relu) {
  check_images("x", x);
  const PackedHeader header = packed_header(depthwise, x);
  const ConvShape shape = packed_shape(header, x);
  const int64_t channels = x.size(1);
  STD_TORCH_CHECK(shape.groups == channels && shape.filters == 1, "depthwise must be packed of [C, 1, R, S] in C groups, got ",
                  header.weight[0], " filters in ", shape.groups, " groups");
  STD_TORCH_CHECK(shape.out[0] == out_height && shape.out[1] == out_width, "out_height and out_width must be those of the ",
                  "convolution, ", shape.out[0], " and ", shape.out[1], ", got ", out_height, " and ", out_width);
  check_windows(start, order, x, channels, out_channels, width);
  check_conv_bias(depthwise_bias, x, channels);
  check_conv_bias(bias, x, out_channels);
  Tensor y = empty_images(x, {x.size(0), out_channels, shape.out[0], shape.out[1]});
  if (y.numel() == 0) return y;
  dispatch(x.scalar_type(), "separable_conv2d", [&](auto element) {
    using T = decltype(element);
    using A = Accumulator<T>;
    std::vector<A> wide_depthwise, wide;
    if (depthwise_bias) wide_depthwise = widened<T>(*depthwise_bias);
    if (bias) wide = widened<T>(*bias);
    const PackedTaps<A> taps = packed_taps<T>(depthwise, header, shape);
    const Windows windows = windows_of(start, order, channels, width);
    const TransformPlan<T> plan(windows, false);
    const PackedTransform<T> packed = packed_transform(pointwise, plan, out_channels, width);
    View<T> out;
    view_of(y, 1, out);
    SeparableConv2d<T> both({shape, taps.plain, taps.by_lanes, depthwise_bias ? wide_depthwise.data() : nullptr, header.relu != 0},
                            {&plan, windows, packed.tiles, packed.taps, bias ? wide.data() : nullptr, relu},
                            images_of<const T>(x), out, torch::stable::get_num_threads());
    Tensor shared;
    if (both.shared_bytes() > 0) {
      shared = torch::stable::empty({both.shared_bytes()}, ScalarType::Byte);
      both.share(shared.mutable_data_ptr());
    }
    for (int stage = 0; stage < both.stages(); ++stage)
      torch::stable::parallel_for(0, both.tasks(stage), both.grain(stage),
                                  [&](int64_t begin, int64_t end) { both.run(stage, begin, end); });
  });
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) { m.impl("separable_conv2d_packed", TORCH_BOX(&separable_conv2d)); }

}  // namespace
}  // namespace multipath_gcn
