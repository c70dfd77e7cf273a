// A depthwise convolution and the channel transform of its result against plain loops: any geometry and windows, both memory
// formats, tensors allocated to the element, any number of threads. Values are small integers: equality is exact.
#include "kernels/separable_conv2d.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "expect.h"

namespace multipath_gcn {
namespace {

template <typename T>
struct SeparableProblem {
  using A = Accumulator<T>;
  ConvShape s{};
  int64_t batch = random(1, 5), channels = random(1, 40), filters = random(1, 40), width = random(1, channels);
  bool last = random(0, 1) == 1, inner = random(0, 1) == 1, relu = random(0, 1) == 1;
  Shape text{};

  SeparableProblem() {
    s.groups = channels, s.channels = s.filters = 1;
    for (int d = 0; d < 2; ++d) {
      s.kernel[d] = random(1, 4), s.stride[d] = random(1, 3), s.dilation[d] = random(1, 2), s.padding[d] = random(0, 3);
      const int64_t extent = (s.kernel[d] - 1) * s.dilation[d] + 1, below = random(0, 2);
      s.in[d] = random(std::max<int64_t>(1, extent - s.padding[d] - below), 40);
      s.out[d] = (s.in[d] + s.padding[d] + below - extent) / s.stride[d] + 1;
      text.text += (d ? " x " : "") + std::to_string(s.in[d]) + " by " + std::to_string(s.kernel[d]);
    }
  }

  template <typename Values>
  static Values drawn(int64_t count, int64_t most) {
    Values values(count);
    for (auto& v : values) v = static_cast<typename Values::value_type>(random(-most, most));
    return values;
  }

  void check() const {
    const int64_t in = s.in[0] * s.in[1], out = s.out[0] * s.out[1], taps = s.kernel[0] * s.kernel[1];
    const std::unique_ptr<T[]> x(new T[batch * channels * in]), y(new T[batch * filters * out]);
    for (int64_t i = 0; i < batch * channels * in; ++i) x[i] = number<T>(static_cast<double>(random(-1, 1)));
    const auto depthwise = drawn<std::vector<A>>(channels * taps, 1), b1 = drawn<std::vector<A>>(channels, 2);
    const auto weight = drawn<std::vector<A>>(filters * width, 1), b2 = drawn<std::vector<A>>(filters, 3);
    std::vector<T> narrow_weight(weight.size());
    for (size_t i = 0; i < weight.size(); ++i) narrow_weight[i] = number<T>(static_cast<double>(weight[i]));
    std::vector<int32_t> start(filters), order(filters);
    for (int32_t& v : start) v = static_cast<int32_t>(random(0, channels - 1));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return start[a] < start[b]; });

    const Windows windows{start.data(), order.data(), channels, filters, width};
    const TransformPlan<T> plan(windows, false);
    const std::unique_ptr<char[]> packed(new char[plan.bytes()]);
    plan.pack({narrow_weight.data(), width, 1}, packed.get(), [](int64_t count, int64_t, auto&& body) { body(0, count); });
    const int64_t row = s.in[1] * (last ? channels : 1);
    const Images<const T> images{x.get(), batch, channels, s.in[0], s.in[1], channels * in, last ? 1 : in, row, last ? channels : 1};
    const View<T> view{y.get(), batch, filters, out, filters * out, last ? 1 : out, last ? filters : 1};
    SeparableConv2d<T> both({s, depthwise.data(), nullptr, b1.data(), inner},
                            {&plan, windows, packed.get(), narrow_weight.data(), b2.data(), relu}, images, view, random(1, 4));
    std::unique_ptr<char[]> shared;
    if (both.shared_bytes() > 0) both.share((shared.reset(new char[both.shared_bytes()]), shared.get()));
    for (int stage = 0; stage < both.stages(); ++stage) {
      const int64_t middle = random(0, both.tasks(stage));
      both.run(stage, middle, both.tasks(stage));
      both.run(stage, 0, middle);
    }
    expect_all(x.get(), y.get(), depthwise, b1, weight, b2, start);
  }

  void expect_all(const T* x, const T* y, const std::vector<A>& depthwise, const std::vector<A>& b1, const std::vector<A>& weight,
                  const std::vector<A>& b2, const std::vector<int32_t>& start) const {
    const int64_t in = s.in[0] * s.in[1], out = s.out[0] * s.out[1];
    std::vector<double> h(channels);
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t i = 0; i < s.out[0]; ++i)
        for (int64_t j = 0; j < s.out[1]; ++j) {
          for (int64_t c = 0; c < channels; ++c) {
            double sum = b1[c];
            for (int64_t r = 0; r < s.kernel[0]; ++r)
              for (int64_t q = 0; q < s.kernel[1]; ++q) {
                const int64_t a = i * s.stride[0] + r * s.dilation[0] - s.padding[0];
                const int64_t b = j * s.stride[1] + q * s.dilation[1] - s.padding[1];
                if (a < 0 || a >= s.in[0] || b < 0 || b >= s.in[1]) continue;
                const int64_t p = a * s.in[1] + b, at = n * channels * in + (last ? p * channels + c : c * in + p);
                sum += static_cast<double>(depthwise[(c * s.kernel[0] + r) * s.kernel[1] + q]) * widen(x[at]);
              }
            h[c] = inner ? std::max(sum, 0.0) : sum;
          }
          for (int64_t o = 0; o < filters; ++o) {
            double sum = b2[o];
            for (int64_t k = 0; k < width; ++k) sum += weight[o * width + k] * h[(start[o] + k) % channels];
            const int64_t p = i * s.out[1] + j, at = n * filters * out + (last ? p * filters + o : o * out + p);
            expect(y[at], relu ? std::max(sum, 0.0) : sum, text, "separable convolution");
          }
        }
  }
};

}  // namespace

void check_separable(int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    SeparableProblem<float>().check();
    SeparableProblem<double>().check();
    SeparableProblem<BFloat16>().check();
  }
}

}  // namespace multipath_gcn
