// Grouped convolution of images and its gradients on CUDA: checks, views and registration. The arithmetic is in conv.cuh and
// conv_weight_grad.cuh. Images of any strides are read where they are; results have the format of the first argument.
#include "grouped_conv2d.cuh"

#include <torch/csrc/stable/library.h>

#include "../check_conv.h"
#include "tensors.cuh"

namespace multipath_gcn::gpu {
namespace {

template <typename T>
Strided<T> strided(const Tensor& t) {
  return {static_cast<T*>(const_cast<void*>(t.const_data_ptr())), t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
}

template <typename T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

Tensor empty_images(const Tensor& like, const std::vector<int64_t>& sizes) {
  const auto format = channels_last(like) ? torch::headeronly::MemoryFormat::ChannelsLast
                                          : torch::headeronly::MemoryFormat::Contiguous;
  return torch::stable::empty(sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt, format);
}

// On CUDA coordinates have 32 bits.
ConvShape shape_of(const std::vector<int64_t>& in, int64_t channels, const std::vector<int64_t>& weight,
                   const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                   const std::vector<int64_t>& dilation, int64_t groups) {
  const ConvShape shape = conv_shape(in, channels, weight, stride, padding, dilation, groups);
  for (int d = 0; d < 2; ++d)
    STD_TORCH_CHECK(in[d] + padding[2 * d] + padding[2 * d + 1] <= kMaxPadded, "a padded image must be at most ", kMaxPadded,
                    " high and wide on CUDA, got ", in[d], " + ", padding[2 * d], " + ", padding[2 * d + 1]);
  return shape;
}

void convolve(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, bool relu, const ConvWork& work,
              const Tensor& y, const char* name) {
  Launcher launcher(x);
  const Tensor near_weight = torch::stable::contiguous(weight);
  const std::optional<Tensor> near_bias = bias ? std::optional<Tensor>(torch::stable::contiguous(*bias)) : std::nullopt;
  dispatch(x.scalar_type(), name, [&](auto element) {
    using T = decltype(element);
    ConvArgs<T> args{};
    args.work = work;
    args.x = strided<const T>(x);
    args.y = strided<T>(y);
    args.weight = data<T>(near_weight);
    args.bias = near_bias ? data<T>(*near_bias) : nullptr;
    args.relu = relu;
    run_conv(launcher, args, channels_last(y));
  });
}

Tensor grouped_conv2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, std::vector<int64_t> stride,
                      std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups, bool relu) {
  check_images("x", x);
  const ConvShape shape = shape_of({x.size(2), x.size(3)}, x.size(1), sizes_of(weight), stride, padding, dilation, groups);
  check_like("weight", weight, x);
  check_conv_bias(bias, x, weight.size(0));
  const Tensor y = empty_images(x, {x.size(0), weight.size(0), shape.out[0], shape.out[1]});
  if (y.numel() > 0) convolve(x, weight, bias, relu, conv_work(shape, x.size(0), false), y, "grouped_conv2d");
  return y;
}

Tensor input_grad(const Tensor& grad, const Tensor& weight, std::vector<int64_t> size, std::vector<int64_t> stride,
                  std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups) {
  check_images("grad", grad);
  STD_TORCH_CHECK(size.size() == 2 && size[0] >= 0 && size[1] >= 0, "size must be a height and a width");
  const int64_t channels = weight.dim() == 4 ? weight.size(1) * groups : 0;
  const ConvShape shape = shape_of({size[0], size[1]}, channels, sizes_of(weight), stride, padding, dilation, groups);
  check_like("weight", weight, grad);
  check_grad(grad, grad.size(0), weight.size(0), shape);
  const Tensor dx = empty_images(grad, {grad.size(0), channels, size[0], size[1]});
  if (dx.numel() > 0)
    convolve(grad, weight, std::nullopt, false, conv_work(shape, grad.size(0), true), dx, "grouped_conv2d_input_grad");
  return dx;
}

Tensor weight_grad(const Tensor& grad, const Tensor& x, std::vector<int64_t> kernel_size, std::vector<int64_t> stride,
                   std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups) {
  check_images("x", x);
  check_images("grad", grad);
  check_like("grad", grad, x);
  STD_TORCH_CHECK(kernel_size.size() == 2 && groups >= 1, "kernel_size must be a height and a width, and groups at least 1");
  Tensor dweight = torch::stable::new_empty(x, {grad.size(1), x.size(1) / groups, kernel_size[0], kernel_size[1]});
  const ConvShape shape = shape_of({x.size(2), x.size(3)}, x.size(1), sizes_of(dweight), stride, padding, dilation, groups);
  check_grad(grad, x.size(0), grad.size(1), shape);
  if (dweight.numel() == 0) return dweight;
  if (grad.numel() == 0 || x.numel() == 0) return torch::stable::zero_(dweight);
  Launcher launcher(x);
  dispatch(x.scalar_type(), "grouped_conv2d_weight_grad", [&](auto element) {
    using T = decltype(element);
    ConvGradArgs<T> args{};
    args.shape = shape;
    args.grad = strided<const T>(grad);
    args.x = strided<const T>(x);
    run_conv_weight_grad(launcher, args, x.size(0), channels_last(x), static_cast<T*>(dweight.mutable_data_ptr()));
  });
  return dweight;
}

std::tuple<Tensor, Tensor> gradients(const Tensor& grad, const Tensor& x, const Tensor& weight, std::vector<int64_t> stride,
                                     std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups) {
  check_conv_operands(x, weight, groups);
  return {input_grad(grad, weight, {x.size(2), x.size(3)}, stride, padding, dilation, groups),
          weight_grad(grad, x, {weight.size(2), weight.size(3)}, stride, padding, dilation, groups)};
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CUDA, m) {
  m.impl("grouped_conv2d", TORCH_BOX(&grouped_conv2d));
  m.impl("grouped_conv2d_input_grad", TORCH_BOX(&input_grad));
  m.impl("grouped_conv2d_weight_grad", TORCH_BOX(&weight_grad));
  m.impl("grouped_conv2d_gradients", TORCH_BOX(&gradients));
}

}  // namespace
}  // namespace multipath_gcn::gpu
