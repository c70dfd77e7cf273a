// What must hold for the tensors of grouped_conv2d and its gradients on any device; for their sizes: kernels/conv_arguments.h.
#pragma once
#include "check.h"
#include "kernels/conv_arguments.h"

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

// As of checked_shape, with an operator's kind of error.
inline ConvShape conv_shape(const std::vector<int64_t>& in, int64_t channels, const std::vector<int64_t>& weight,
                            const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                            const std::vector<int64_t>& dilation, int64_t groups) {
  try {
    return checked_shape(in, channels, weight, stride, padding, dilation, groups);
  } catch (const std::invalid_argument& broken) {
    throw std::runtime_error(broken.what());
  }
}

// Of both gradients at once, each of which knows but one of these.
inline void check_conv_operands(const Tensor& x, const Tensor& weight, int64_t groups) {
  check_images("x", x);
  STD_TORCH_CHECK(weight.dim() == 4 && weight.size(1) * groups == x.size(1), "weight must have shape [O, C / groups, R, S] with C = ",
                  x.size(1), " and groups = ", groups, ", got ", shape_text(weight));
}

inline void check_grad(const Tensor& grad, int64_t batch, int64_t filters, const ConvShape& shape) {
  STD_TORCH_CHECK(grad.size(0) == batch && grad.size(1) == filters && grad.size(2) == shape.out[0] && grad.size(3) == shape.out[1],
                  "grad must have shape [", batch, ", ", filters, ", ", shape.out[0], ", ", shape.out[1], "], got ",
                  shape_text(grad));
}

}  // namespace multipath_gcn
