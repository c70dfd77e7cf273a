// Convolution in uneven groups against plain loops: any groups and geometry, both memory formats, tensors allocated to the
// element, any number of threads. Values are small integers: equality is exact.
#include "kernels/uneven_conv2d.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "expect.h"

namespace multipath_gcn {
namespace {

template <typename T>
struct UnevenProblem {
  using A = Accumulator<T>;
  ConvShape s{};
  int64_t batch = random(1, 3), count = random(1, 4), weights = 0;
  bool last = random(0, 1) == 1, relu = random(0, 1) == 1, add = random(0, 1) == 1;
  std::vector<std::vector<int64_t>> inputs;
  std::vector<int64_t> filters, outputs;
  Shape text{};

  UnevenProblem() {
    s.groups = 1, s.channels = random(1, 9);
    for (int64_t g = 0; g < count; ++g) {
      inputs.emplace_back(random(1, 12));
      for (int64_t& c : inputs.back()) c = random(0, s.channels - 1);
      filters.push_back(random(1, 9));
      s.filters += filters.back();
    }
    outputs.resize(s.filters);
    std::iota(outputs.begin(), outputs.end(), 0);
    std::shuffle(outputs.begin(), outputs.end(), generator);
    for (int d = 0; d < 2; ++d) {
      s.kernel[d] = random(1, 4), s.stride[d] = random(1, 3), s.dilation[d] = random(1, 2), s.padding[d] = random(0, 3);
      const int64_t extent = (s.kernel[d] - 1) * s.dilation[d] + 1, below = random(0, 2);
      s.in[d] = random(std::max<int64_t>(1, extent - s.padding[d] - below), d ? 40 : 12);
      s.out[d] = (s.in[d] + s.padding[d] + below - extent) / s.stride[d] + 1;
      text.text += (d ? " x " : "") + std::to_string(s.in[d]) + " by " + std::to_string(s.kernel[d]);
    }
  }

  template <typename U>
  Images<U> images(U* data, int64_t channels, const int64_t* size) const {
    const int64_t plane = size[0] * size[1];
    return {data, batch, channels, size[0], size[1], channels * plane, last ? 1 : plane, last ? size[1] * channels : size[1],
            last ? channels : 1};
  }

  void check() const {
    const int64_t out = batch * s.filters * s.out[0] * s.out[1], in = batch * s.channels * s.in[0] * s.in[1];
    const std::unique_ptr<T[]> x(new T[in]), y(new T[out]), residual(new T[out]);
    for (int64_t i = 0; i < in; ++i) x[i] = number<T>(static_cast<double>(random(-2, 2)));
    for (int64_t i = 0; i < out; ++i) residual[i] = number<T>(static_cast<double>(random(-2, 2)));
    const int64_t taps = s.kernel[0] * s.kernel[1];
    std::vector<A> weight, bias(s.filters);
    std::vector<UnevenGroup> groups;
    int64_t first = 0;
    for (int64_t g = 0; g < count; ++g) {
      const int64_t channels = static_cast<int64_t>(inputs[g].size());
      groups.push_back({inputs[g].data(), outputs.data() + first, channels, filters[g]});
      for (int64_t i = 0; i < filters[g] * channels * taps; ++i) weight.push_back(static_cast<A>(random(-1, 1)));
      first += filters[g];
    }
    for (A& v : bias) v = static_cast<A>(random(-3, 3));
    const UnevenConv2d<T> convolution(s, groups, weight.data(), bias.data(), relu, add ? residual.get() : nullptr,
                                      images<const T>(x.get(), s.channels, s.in), images<T>(y.get(), s.filters, s.out),
                                      random(1, 4));
    const int64_t middle = random(0, convolution.tasks());
    convolution.run(middle, convolution.tasks());
    convolution.run(0, middle);
    expect_all(groups, weight, bias, x.get(), y.get(), residual.get());
  }

  static int64_t at(const Images<const T>& t, int64_t n, int64_t c, int64_t i, int64_t j) {
    return n * t.batch_stride + c * t.channel_stride + i * t.row_stride + j * t.pixel_stride;
  }

  void expect_all(const std::vector<UnevenGroup>& groups, const std::vector<A>& weight, const std::vector<A>& bias, const T* x,
                  const T* y, const T* residual) const {
    const Images<const T> in = images<const T>(x, s.channels, s.in), out = images<const T>(y, s.filters, s.out);
    const A* w = weight.data();
    for (const UnevenGroup& group : groups)
      for (int64_t k = 0; k < group.filters; ++k, w += group.channels * s.kernel[0] * s.kernel[1])
        for (int64_t n = 0; n < batch; ++n)
          for (int64_t i = 0; i < s.out[0]; ++i)
            for (int64_t j = 0; j < s.out[1]; ++j) {
              const int64_t o = group.outputs[k], to = at(out, n, o, i, j);
              double sum = bias[o] + (add ? widen(residual[to]) : 0);
              for (int64_t c = 0; c < group.channels; ++c)
                for (int64_t r = 0; r < s.kernel[0]; ++r)
                  for (int64_t q = 0; q < s.kernel[1]; ++q) {
                    const int64_t a = i * s.stride[0] + r * s.dilation[0] - s.padding[0];
                    const int64_t b = j * s.stride[1] + q * s.dilation[1] - s.padding[1];
                    if (a < 0 || a >= s.in[0] || b < 0 || b >= s.in[1]) continue;
                    sum += static_cast<double>(w[(c * s.kernel[0] + r) * s.kernel[1] + q]) *
                           widen(x[at(in, n, group.inputs[c], a, b)]);
                  }
              expect(y[to], relu ? std::max(sum, 0.0) : sum, text, "uneven convolution");
            }
  }
};

}  // namespace

void check_uneven(int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    UnevenProblem<float>().check();
    UnevenProblem<double>().check();
    UnevenProblem<BFloat16>().check();
  }
}

}  // namespace multipath_gcn
