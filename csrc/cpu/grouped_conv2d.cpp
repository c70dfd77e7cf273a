// CPU kernels of grouped_conv2d and its gradients: checks, dtype, threads. The arithmetic is in kernels/.
#include <torch/csrc/stable/library.h>

#include "../check_conv.h"
#include "images.h"
#include "packed_conv.h"

namespace multipath_gcn {
namespace {

using torch::stable::parallel_for;

// Contiguous, and of the type that sums are kept in.
template <typename T>
class Weight {
 public:
  explicit Weight(const Tensor& t) : tensor_(torch::stable::contiguous(t)) {
    if constexpr (!std::is_same_v<T, Accumulator<T>>) {
      const T* const data = static_cast<const T*>(tensor_.const_data_ptr());
      for (int64_t i = 0; i < tensor_.numel(); ++i) wide_.push_back(widen(data[i]));
    }
  }
  const Accumulator<T>* data() const {
    return wide_.empty() ? static_cast<const Accumulator<T>*>(tensor_.const_data_ptr()) : wide_.data();
  }

 private:
  Tensor tensor_;
  std::vector<Accumulator<T>> wide_;
};

template <typename T>
void run(const Convolution<T>& convolution) {
  parallel_for(0, convolution.tasks(), 1, [&](int64_t begin, int64_t end) { convolution.run(begin, end); });
}

Tensor grouped_conv2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, std::vector<int64_t> stride,
                      std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups, bool relu) {
  check_images("x", x);
  const ConvShape shape = conv_shape({x.size(2), x.size(3)}, x.size(1), sizes_of(weight), stride, padding, dilation, groups);
  check_like("weight", weight, x);
  check_conv_bias(bias, x, weight.size(0));
  Tensor y = empty_images(x, {x.size(0), weight.size(0), shape.out[0], shape.out[1]});
  if (y.numel() == 0) return y;
  dispatch(x.scalar_type(), "grouped_conv2d", [&](auto element) {
    using T = decltype(element);
    std::vector<Accumulator<T>> wide;
    if (bias) wide = widened<T>(*bias);
    const Weight<T> taps(weight);
    run<T>({{forward_pass(shape)}, images_of<const T>(x), images_of<T>(y), {taps.data(), weight_strides(shape, false)},
            bias ? wide.data() : nullptr, relu});
  });
  return y;
}

Tensor input_grad(const Tensor& grad, const Tensor& weight, std::vector<int64_t> size, std::vector<int64_t> stride,
                  std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups) {
  check_images("grad", grad);
  STD_TORCH_CHECK(size.size() == 2 && size[0] >= 0 && size[1] >= 0, "size must be a height and a width");
  const ConvShape shape = conv_shape({size[0], size[1]}, weight.dim() == 4 ? weight.size(1) * groups : 0, sizes_of(weight),
                                     stride, padding, dilation, groups);
  check_like("weight", weight, grad);
  check_grad(grad, grad.size(0), weight.size(0), shape);
  Tensor dx = empty_images(grad, {grad.size(0), weight.size(1) * groups, size[0], size[1]});
  if (dx.numel() == 0) return dx;
  dispatch(grad.scalar_type(), "grouped_conv2d_input_grad", [&](auto element) {
    using T = decltype(element);
    const Weight<T> taps(weight);
    run<T>({input_grad_passes(shape), images_of<const T>(grad), images_of<T>(dx), {taps.data(), weight_strides(shape, true)},
            nullptr, false});
  });
  return dx;
}

Tensor weight_grad(const Tensor& grad, const Tensor& x, std::vector<int64_t> kernel_size, std::vector<int64_t> stride,
                   std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups) {
  check_images("x", x);
  check_images("grad", grad);
  check_like("grad", grad, x);
  STD_TORCH_CHECK(kernel_size.size() == 2 && groups >= 1, "kernel_size must be a height and a width, and groups at least 1");
  const std::vector<int64_t> size{grad.size(1), x.size(1) / groups, kernel_size[0], kernel_size[1]};
  Tensor dweight = torch::stable::new_empty(x, size);
  const ConvShape shape = conv_shape({x.size(2), x.size(3)}, x.size(1), size, stride, padding, dilation, groups);
  check_grad(grad, x.size(0), grad.size(1), shape);
  if (dweight.numel() == 0) return dweight;
  dispatch(x.scalar_type(), "grouped_conv2d_weight_grad", [&](auto element) {
    using T = decltype(element);
    using A = Accumulator<T>;
    std::vector<A> sums(dweight.numel());
    const ConvolutionWeightGrad<T> gradient(forward_pass(shape), images_of<const T>(x), images_of<const T>(grad), sums.data());
    parallel_for(0, gradient.tasks(), 1, [&](int64_t begin, int64_t end) { gradient.run(begin, end); });
    T* const out = static_cast<T*>(dweight.mutable_data_ptr());
    for (size_t i = 0; i < sums.size(); ++i) out[i] = narrow<T>(sums[i]);
  });
  return dweight;
}

std::tuple<Tensor, Tensor> gradients(const Tensor& grad, const Tensor& x, const Tensor& weight, std::vector<int64_t> stride,
                                     std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups) {
  check_conv_operands(x, weight, groups);
  return {input_grad(grad, weight, {x.size(2), x.size(3)}, stride, padding, dilation, groups),
          weight_grad(grad, x, {weight.size(2), weight.size(3)}, stride, padding, dilation, groups)};
}

Tensor pack(const Tensor& weight, std::vector<int64_t> stride, std::vector<int64_t> padding, std::vector<int64_t> dilation,
            int64_t groups, bool relu) {
  STD_TORCH_CHECK(weight.dim() == 4, "weight must have shape [O, C / groups, R, S], got ", shape_text(weight));
  STD_TORCH_CHECK(dilation.size() == 2, "dilation must have 2 entries");
  // What is packed does not depend on the image: one as large as the kernel.
  std::vector<int64_t> size;
  for (int d = 0; d < 2; ++d) size.push_back((weight.size(2 + d) - 1) * std::max<int64_t>(1, dilation[d]) + 1);
  const ConvShape shape = conv_shape(size, weight.size(1) * groups, sizes_of(weight), stride, padding, dilation, groups);
  Tensor packed = weight;
  dispatch(weight.scalar_type(), "grouped_conv2d_pack", [&](auto element) {
    using T = decltype(element);
    using A = Accumulator<T>;
    packed = torch::stable::empty({kHeaderBytes + packed_numel<T>(shape) * static_cast<int64_t>(sizeof(A))}, ScalarType::Byte);
    char* const memory = static_cast<char*>(packed.mutable_data_ptr());
    PackedHeader header{weight.scalar_type(), {}, {}, {}, {}, groups, relu};
    for (int d = 0; d < 4; ++d) header.weight[d] = weight.size(d), header.padding[d] = padding[d];
    for (int d = 0; d < 2; ++d) header.stride[d] = stride[d], header.dilation[d] = dilation[d];
    std::memcpy(memory, &header, sizeof header);
    A* const out = reinterpret_cast<A*>(memory + kHeaderBytes);
    const Weight<T> taps(weight);
    std::copy(taps.data(), taps.data() + weight.numel(), out);
    const ConvPass pass = forward_pass(shape);
    const LaneBlocks blocks = packed_blocks<T>(pass);
    ConvJob<T> job{};
    job.pass = &pass, job.blocks = &blocks, job.weight = {out, weight_strides(shape, false)};
    for (int64_t b = 0; b < blocks.count; ++b) conv_kernels<T>().pack(job, b, out + weight.numel() + b * blocks.packed);
  });
  return packed;
}

Tensor grouped_conv2d_packed(const Tensor& x, const Tensor& packed, const std::optional<Tensor>& bias,
                             const std::optional<Tensor>& residual) {
  check_images("x", x);
  const PackedHeader header = packed_header(packed, x);
  const ConvShape shape = packed_shape(header, x);
  check_conv_bias(bias, x, header.weight[0]);
  Tensor y = empty_images(x, {x.size(0), header.weight[0], shape.out[0], shape.out[1]});
  const std::optional<Tensor> added = residual ? std::optional<Tensor>(like_output(*residual, y)) : std::nullopt;
  if (y.numel() == 0) return y;
  dispatch(x.scalar_type(), "grouped_conv2d_packed", [&](auto element) {
    using T = decltype(element);
    using A = Accumulator<T>;
    std::vector<A> wide;
    if (bias) wide = widened<T>(*bias);
    const PackedTaps<A> taps = packed_taps<T>(packed, header, shape);
    run<T>({{forward_pass(shape)}, images_of<const T>(x), images_of<T>(y), {taps.plain, weight_strides(shape, false)},
            bias ? wide.data() : nullptr, header.relu != 0, taps.by_lanes, std::nullopt,
            added ? static_cast<const T*>(added->const_data_ptr()) : nullptr});
  });
  return y;
}

std::string kernel(const Tensor& x, std::vector<int64_t> weight_size, std::vector<int64_t> stride, std::vector<int64_t> padding,
                   std::vector<int64_t> dilation, int64_t groups, std::string place) {
  check_images("x", x);
  const ConvShape shape = conv_shape({x.size(2), x.size(3)}, x.size(1), weight_size, stride, padding, dilation, groups);
  if (x.numel() == 0 || x.size(0) * weight_size[0] * shape.out[0] * shape.out[1] == 0) return way_name(ConvWay::tape);  // any
  std::string name;
  dispatch(x.scalar_type(), "grouped_conv2d_kernel", [&](auto element) {
    using T = decltype(element);
    const Tensor y = empty_images(x, {x.size(0), weight_size[0], shape.out[0], shape.out[1]});
    if (place == "weight")
      name = way_name(ConvolutionWeightGrad<T>(forward_pass(shape), images_of<const T>(x), images_of<const T>(y), nullptr).way());
    else if (place == "x")
      name = way_name(Convolution<T>(input_grad_passes(shape), images_of<const T>(y), images_of<T>(x),
                                     {nullptr, weight_strides(shape, true)}, nullptr, false).way());
    else
      name = way_name(Convolution<T>({forward_pass(shape)}, images_of<const T>(x), images_of<T>(y),
                                     {nullptr, weight_strides(shape, false)}, nullptr, false).way());
  });
  return name;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) {
  m.impl("grouped_conv2d", TORCH_BOX(&grouped_conv2d));
  m.impl("grouped_conv2d_input_grad", TORCH_BOX(&input_grad));
  m.impl("grouped_conv2d_weight_grad", TORCH_BOX(&weight_grad));
  m.impl("grouped_conv2d_gradients", TORCH_BOX(&gradients));
  m.impl("grouped_conv2d_pack", TORCH_BOX(&pack));
  m.impl("grouped_conv2d_packed", TORCH_BOX(&grouped_conv2d_packed));
  m.impl("grouped_conv2d_kernel", TORCH_BOX(&kernel));
}

}  // namespace
}  // namespace multipath_gcn
