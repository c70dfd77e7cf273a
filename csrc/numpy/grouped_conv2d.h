// Grouped convolution of NumPy arrays: images [N, C, H, W] with any strides, read and written where they lie.
#pragma once
#include "../kernels/conv_arguments.h"
#include "arrays.h"
#include "threads.h"

namespace multipath_gcn {

template <typename T>
Images<T> images_of(const Array<std::remove_const_t<T>>& a) {
  const int64_t size = sizeof(T);
  return {reinterpret_cast<T*>(const_cast<void*>(static_cast<const void*>(a.data()))),
          a.shape(0), a.shape(1), a.shape(2), a.shape(3),
          a.strides(0) / size, a.strides(1) / size, a.strides(2) / size, a.strides(3) / size};
}

// A weight [O, C, R, S], contiguous and of the type that sums are kept in: the array's own memory where it is so already.
template <typename T>
class ContiguousWeight {
 public:
  explicit ContiguousWeight(const Array<T>& given)
      : array_(given.flags() & py::array::c_style && whole_elements<T>(given) ? given : Array<T>(given.attr("copy")())) {
    if constexpr (!std::is_same_v<T, Accumulator<T>>)
      for (int64_t i = 0; i < array_.size(); ++i) wide_.push_back(widen(elements()[i]));
  }
  const Accumulator<T>* data() const {
    if constexpr (std::is_same_v<T, Accumulator<T>>) return elements();
    else return wide_.data();
  }

 private:
  const T* elements() const { return reinterpret_cast<const T*>(array_.data()); }

  Array<T> array_;
  std::vector<Accumulator<T>> wide_;
};

template <typename T>
void grouped_conv2d(const Array<T>& x_, const Array<T>& weight, const std::optional<Array<T>>& bias,
                    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                    const std::vector<int64_t>& dilation, int64_t groups, bool relu, Array<T>& y, int64_t count) {
  require(x_.ndim() == 4, "x must be an array [N, C, H, W]");
  const ConvShape shape = checked_shape({x_.shape(2), x_.shape(3)}, x_.shape(1),
                                        {weight.shape(), weight.shape() + weight.ndim()}, stride, padding, dilation, groups);
  require(y.writeable() && whole_elements<T>(y), "a result must be writeable, of whole elements");
  require(y.ndim() == 4 && y.shape(0) == x_.shape(0) && y.shape(1) == weight.shape(0) && y.shape(2) == shape.out[0] &&
              y.shape(3) == shape.out[1],
          "a result must have the shape of the convolution");
  const std::vector<Accumulator<T>> wide_bias = widened<T>(bias, weight.shape(0));
  if (y.size() == 0) return;
  const Array<T> x = whole_elements<T>(x_) ? x_ : Array<T>(x_.attr("copy")("K"));
  const ContiguousWeight<T> taps(weight);
  const Images<const T> in = images_of<const T>(x);
  const Images<T> out = images_of<T>(y);
  const py::gil_scoped_release release;
  const Convolution<T> convolution({forward_pass(shape)}, in, out, {taps.data(), weight_strides(shape, false)},
                                   bias ? wide_bias.data() : nullptr, relu);
  Threads{count}(convolution.tasks(), 1, [&](int64_t begin, int64_t end) { convolution.run(begin, end); });
}

}  // namespace multipath_gcn
