// What arguments of a convolution mean as sizes, and what must hold so that its kernels stay within memory.
#pragma once
#include <sstream>
#include <stdexcept>
#include <vector>

#include "grouped_conv2d.h"

namespace multipath_gcn {

template <typename... Words>
void require_conv(bool holds, const Words&... words) {
  if (holds) return;
  std::ostringstream text;
  (text << ... << words);
  throw std::invalid_argument(text.str());
}

// in: height and width; padding: above, below, left, right. Throws std::invalid_argument.
inline ConvShape checked_shape(const std::vector<int64_t>& in, int64_t channels, const std::vector<int64_t>& weight,
                               const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                               const std::vector<int64_t>& dilation, int64_t groups) {
  require_conv(weight.size() == 4, "weight must have shape [O, C / groups, R, S], got ", weight.size(), " dimensions");
  require_conv(groups >= 1 && weight[0] >= 0 && weight[1] >= 0 && weight[0] % groups == 0 && weight[1] * groups == channels,
               "groups must divide both numbers of channels, and weight have C / groups of them, got groups ", groups, ", C ",
               channels, " and a weight of ", weight[0], " by ", weight[1]);
  require_conv(stride.size() == 2 && dilation.size() == 2 && padding.size() == 4,
               "stride and dilation must have 2 entries and padding 4");
  ConvShape shape{};
  shape.groups = groups, shape.channels = weight[1], shape.filters = weight[0] / groups;
  for (int d = 0; d < 2; ++d) {
    shape.kernel[d] = weight[2 + d], shape.stride[d] = stride[d], shape.dilation[d] = dilation[d];
    shape.padding[d] = padding[2 * d], shape.in[d] = in[d];
    require_conv(shape.kernel[d] >= 1, "weight must have a kernel of at least 1 x 1, got ", shape.kernel[d]);
    require_conv(stride[d] >= 1 && dilation[d] >= 1, "stride and dilation must be at least 1, got ", stride[d], " and ",
                 dilation[d]);
    require_conv(padding[2 * d] >= 0 && padding[2 * d + 1] >= 0, "padding must be at least 0, got ", padding[2 * d], " and ",
                 padding[2 * d + 1]);
    for (int64_t value : {stride[d], dilation[d], padding[2 * d], padding[2 * d + 1]})
      require_conv(value < (int64_t{1} << 31), "stride, dilation and padding must be below 2^31, got ", value);
    const int64_t padded = in[d] + padding[2 * d] + padding[2 * d + 1], extent = (shape.kernel[d] - 1) * dilation[d] + 1;
    require_conv(extent <= padded, "the kernel must fit the padded image, got an extent of ", extent, " and a size of ", padded);
    shape.out[d] = (padded - extent) / stride[d] + 1;
  }
  return shape;
}

}  // namespace multipath_gcn
