// What must hold for the arguments of grouped_conv2d and its gradients on any device, and what they mean as sizes.
#pragma once
#include "check.h"
#include "kernels/grouped_conv2d.h"

namespace multipath_gcn {

inline void check_images(const char* name, const Tensor& t) {
  STD_TORCH_CHECK(t.dim() == 4, name, " must have shape [N, C, H, W], got ", shape_text(t));
}

inline void check_conv_bias(const std::optional<Tensor>& bias, const Tensor& x, int64_t filters) {
  if (!bias) return;
  check_like("bias", *bias, x);
  STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == filters, "bias must have shape [", filters, "], got ", shape_text(*bias));
}

inline std::vector<int64_t> sizes_of(const Tensor& t) {
  std::vector<int64_t> sizes;
  for (int64_t d = 0; d < t.dim(); ++d) sizes.push_back(t.size(d));
  return sizes;
}

// padding: above, below, left, right.
inline ConvShape conv_shape(const std::vector<int64_t>& in, int64_t channels, const std::vector<int64_t>& weight,
                            const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                            const std::vector<int64_t>& dilation, int64_t groups) {
  STD_TORCH_CHECK(weight.size() == 4, "weight must have shape [O, C / groups, R, S], got ", weight.size(), " dimensions");
  STD_TORCH_CHECK(groups >= 1 && weight[0] >= 0 && weight[1] >= 0 && weight[0] % groups == 0 && weight[1] * groups == channels,
                  "groups must divide both numbers of channels, and weight have C / groups of them, got groups ", groups, ", C ",
                  channels, " and a weight of ", weight[0], " by ", weight[1]);
  STD_TORCH_CHECK(stride.size() == 2 && dilation.size() == 2 && padding.size() == 4,
                  "stride and dilation must have 2 entries and padding 4");
  ConvShape shape{};
  shape.groups = groups, shape.channels = weight[1], shape.filters = weight[0] / groups;
  for (int d = 0; d < 2; ++d) {
    shape.kernel[d] = weight[2 + d], shape.stride[d] = stride[d], shape.dilation[d] = dilation[d];
    shape.padding[d] = padding[2 * d], shape.in[d] = in[d];
    STD_TORCH_CHECK(shape.kernel[d] >= 1, "weight must have a kernel of at least 1 x 1, got ", shape.kernel[d]);
    STD_TORCH_CHECK(stride[d] >= 1 && dilation[d] >= 1, "stride and dilation must be at least 1, got ", stride[d], " and ",
                    dilation[d]);
    STD_TORCH_CHECK(padding[2 * d] >= 0 && padding[2 * d + 1] >= 0, "padding must be at least 0, got ", padding[2 * d], " and ",
                    padding[2 * d + 1]);
    for (int64_t value : {stride[d], dilation[d], padding[2 * d], padding[2 * d + 1]})
      STD_TORCH_CHECK(value < (int64_t{1} << 31), "stride, dilation and padding must be below 2^31, got ", value);
    const int64_t padded = in[d] + padding[2 * d] + padding[2 * d + 1], extent = (shape.kernel[d] - 1) * dilation[d] + 1;
    STD_TORCH_CHECK(extent <= padded, "the kernel must fit the padded image, got an extent of ", extent, " and a size of ", padded);
    shape.out[d] = (padded - extent) / stride[d] + 1;
  }
  return shape;
}

inline void check_grad(const Tensor& grad, int64_t batch, int64_t filters, const ConvShape& shape) {
  STD_TORCH_CHECK(grad.size(0) == batch && grad.size(1) == filters && grad.size(2) == shape.out[0] && grad.size(3) == shape.out[1],
                  "grad must have shape [", batch, ", ", filters, ", ", shape.out[0], ", ", shape.out[1], "], got ",
                  shape_text(grad));
}

}  // namespace multipath_gcn
