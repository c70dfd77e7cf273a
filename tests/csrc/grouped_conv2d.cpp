// Grouped convolution and its gradients against plain loops: any geometry, tensors allocated to the element, both memory
// formats. Values are small integers: equality is exact.
#include "kernels/grouped_conv2d.h"

#include <memory>
#include <vector>

#include "expect.h"

namespace multipath_gcn {
namespace {

template <typename T>
struct ConvProblem {
  using A = Accumulator<T>;
  ConvShape s{};
  int64_t batch = random(1, 3);
  bool last = random(0, 1) == 1;
  Shape text{};

  ConvProblem() {
    s.groups = random(1, 3), s.channels = random(1, 5), s.filters = random(1, 6);
    for (int d = 0; d < 2; ++d) {
      s.kernel[d] = random(1, 4), s.stride[d] = random(1, 3), s.dilation[d] = random(1, 2), s.padding[d] = random(0, 3);
      const int64_t extent = (s.kernel[d] - 1) * s.dilation[d] + 1, below = random(0, 2);
      s.in[d] = random(std::max<int64_t>(1, extent - s.padding[d] - below), d ? 40 : 12);
      s.out[d] = (s.in[d] + s.padding[d] + below - extent) / s.stride[d] + 1;
      text.text += (d ? " x " : "") + std::to_string(s.in[d]) + " by " + std::to_string(s.kernel[d]);
    }
  }

  Images<T> images(std::unique_ptr<T[]>& memory, int64_t channels, const int64_t* size, bool draw) const {
    const int64_t count = batch * channels * size[0] * size[1];
    memory.reset(new T[count]);
    for (int64_t i = 0; i < count; ++i) memory[i] = number<T>(draw ? static_cast<double>(random(-2, 2)) : 0);
    Images<T> t{memory.get(), batch, channels, size[0], size[1], channels * size[0] * size[1], 0, 0, 0};
    if (last) t.channel_stride = 1, t.pixel_stride = channels, t.row_stride = size[1] * channels;
    else t.channel_stride = size[0] * size[1], t.row_stride = size[1], t.pixel_stride = 1;
    return t;
  }

  // body(n, g, k, c, i, j, input row, input column, r, s) for every product.
  template <typename Body>
  void each(Body body) const {
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t g = 0; g < s.groups; ++g)
        for (int64_t k = 0; k < s.filters; ++k)
          for (int64_t c = 0; c < s.channels; ++c)
            for (int64_t i = 0; i < s.out[0]; ++i)
              for (int64_t j = 0; j < s.out[1]; ++j)
                for (int64_t r = 0; r < s.kernel[0]; ++r)
                  for (int64_t q = 0; q < s.kernel[1]; ++q) {
                    const int64_t a = i * s.stride[0] + r * s.dilation[0] - s.padding[0];
                    const int64_t b = j * s.stride[1] + q * s.dilation[1] - s.padding[1];
                    if (0 <= a && a < s.in[0] && 0 <= b && b < s.in[1])
                      body(n, g * s.filters + k, g * s.channels + c, ((g * s.filters + k) * s.channels + c) * s.kernel[0] * s.kernel[1] + r * s.kernel[1] + q, i, j, a, b);
                  }
  }

  static T& at(const Images<T>& t, int64_t n, int64_t c, int64_t i, int64_t j) {
    return t.data[n * t.batch_stride + c * t.channel_stride + i * t.row_stride + j * t.pixel_stride];
  }
  static Images<const T> as_const(const Images<T>& t) {
    return {t.data, t.batch, t.channels, t.height, t.width, t.batch_stride, t.channel_stride, t.row_stride, t.pixel_stride};
  }

  template <typename U>
  static ConvWay one_of(const ConvPass& pass, const Images<const T>& x, const Images<U>& y) {
    std::vector<ConvWay> ways;
    for (ConvWay way : {ConvWay::rows, ConvWay::lanes, ConvWay::tape})
      if (possible(way, pass, x, y)) ways.push_back(way);
    return ways[random(0, static_cast<int64_t>(ways.size()) - 1)];
  }

  void run(const std::vector<ConvPass>& passes, const Images<T>& x, const A* weight, bool transposed, const A* bias, bool relu, const T* residual,
           const Images<T>& y) const {
    const ConvWay way = one_of(passes.front(), as_const(x), y);
    const Convolution<T> convolution(passes, as_const(x), y, {weight, weight_strides(s, transposed)}, bias, relu, nullptr, way, residual);
    const int64_t middle = random(0, convolution.tasks());
    convolution.run(0, middle);
    convolution.run(middle, convolution.tasks());
  }

  void check() const {
    std::unique_ptr<T[]> x_memory, y_memory, dy_memory, dx_memory;
    const int64_t channels = s.groups * s.channels, filters = s.groups * s.filters, taps = s.kernel[0] * s.kernel[1];
    const Images<T> x = images(x_memory, channels, s.in, true), dy = images(dy_memory, filters, s.out, true);
    const Images<T> y = images(y_memory, filters, s.out, false), dx = images(dx_memory, channels, s.in, false);
    std::vector<A> w(filters * s.channels * taps);
    for (A& v : w) v = static_cast<A>(random(-2, 2));
    std::vector<A> bias(filters);
    for (A& v : bias) v = static_cast<A>(random(-3, 3));
    const bool relu = random(0, 1) == 1, add = random(0, 1) == 1;
    std::unique_ptr<T[]> residual_memory;
    const Images<T> residual = images(residual_memory, filters, s.out, true);
    run({forward_pass(s)}, x, w.data(), false, bias.data(), relu, add ? residual.data : nullptr, y);
    run(input_grad_passes(s), dy, w.data(), true, nullptr, false, nullptr, dx);
    std::vector<A> dw(w.size());
    const ConvWay way = one_of(forward_pass(s), as_const(x), as_const(dy));
    const ConvolutionWeightGrad<T> gradient(forward_pass(s), as_const(x), as_const(dy), dw.data(), way);
    gradient.run(0, gradient.tasks());

    std::vector<double> wanted_y(batch * filters * s.out[0] * s.out[1]), wanted_dx(batch * channels * s.in[0] * s.in[1]), wanted_dw(w.size());
    each([&](int64_t n, int64_t o, int64_t c, int64_t at_w, int64_t i, int64_t j, int64_t a, int64_t b) {
      const int64_t to_y = ((n * filters + o) * s.out[0] + i) * s.out[1] + j, to_x = ((n * channels + c) * s.in[0] + a) * s.in[1] + b;
      wanted_y[to_y] += static_cast<double>(w[at_w]) * widen(at(x, n, c, a, b));
      wanted_dx[to_x] += static_cast<double>(w[at_w]) * widen(at(dy, n, o, i, j));
      wanted_dw[at_w] += widen(at(dy, n, o, i, j)) * widen(at(x, n, c, a, b));
    });
    int64_t p = 0;
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t o = 0; o < filters; ++o)
        for (int64_t i = 0; i < s.out[0]; ++i)
          for (int64_t j = 0; j < s.out[1]; ++j, ++p) {
            const double v = wanted_y[p] + static_cast<double>(bias[o]) + (add ? widen(at(residual, n, o, i, j)) : 0);
            expect(at(y, n, o, i, j), relu ? std::max(v, 0.0) : v, text, "convolution");
          }
    p = 0;
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t i = 0; i < s.in[0]; ++i)
          for (int64_t j = 0; j < s.in[1]; ++j, ++p) expect(at(dx, n, c, i, j), wanted_dx[p], text, "input gradient");
    for (size_t i = 0; i < dw.size(); ++i) expect(dw[i], wanted_dw[i], text, "weight gradient of a convolution");
  }
};

}  // namespace

void check_convolution(int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    ConvProblem<float>().check();
    ConvProblem<double>().check();
    ConvProblem<BFloat16>().check();
  }
}

}  // namespace multipath_gcn
