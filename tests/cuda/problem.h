// A case of the emulated tests: sizes, layout, windows and random tensors, and the comparison with float64.
#pragma once
#include "emulated_launcher.h"
//
#include <numeric>
#include <random>
#include <string>

using namespace multipath_gcn;
using namespace multipath_gcn::gpu;
using Element = ELEMENT;

enum class Starts { sliding, grouped, anywhere };
enum class Layout { rows, planes };

struct Case {
  int64_t images, pixels;
  int channels, filters, width;
  Starts starts;
  Layout layout;
  bool tf32 = false;
  int multiprocessors = 1;   // 1: the largest tile that exists, many: the smallest
  int64_t grid_limit = 1 << 30;
  int64_t shift = 0;         // elements by which tensors are moved off their alignment
  int channel_padding = 0;   // of rows or planes in memory: a slice of a larger tensor
  bool transposed_weight = false;
  bool relu = false;
  double not_finite = 0;     // share of x and grad that is infinite or NaN

  int64_t points() const { return images * pixels; }
  std::string text() const {
    char line[256];
    std::snprintf(line, sizeof line, "N=%ld P=%ld C=%d O=%d K=%d starts=%d %s tf32=%d mp=%d grid=%ld shift=%ld pad=%d wt=%d nan=%g",
                  long(images), long(pixels), channels, filters, width, int(starts), layout == Layout::rows ? "rows" : "planes",
                  tf32, multiprocessors, long(grid_limit), long(shift), channel_padding, transposed_weight, not_finite);
    return line;
  }
};

inline int failures = 0, comparisons = 0;
inline std::mt19937 generator(7);

inline double draw() { return std::uniform_real_distribution<double>(-1, 1)(generator); }

inline double exact(Element value) { return static_cast<double>(widen(value)); }

inline Element& element(const View<Element>& v, int64_t point, int channel) {
  return v.data[point / v.pixels * v.batch_stride + point % v.pixels * v.pixel_stride + channel * v.channel_stride];
}

inline View<const Element> reading(const View<Element>& v) {
  return {v.data, v.batch, v.channels, v.pixels, v.batch_stride, v.channel_stride, v.pixel_stride};
}

inline View<Element> view_at(const Case& c, Element* data, int channels) {
  const int64_t stride = channels + c.channel_padding;
  return c.layout == Layout::rows ? View<Element>{data, 1, channels, c.points(), 0, 1, stride}
                                  : View<Element>{data, c.images, channels, c.pixels, stride * c.pixels, c.pixels, 1};
}

// A tensor of rows or planes with a view that says where its elements are.
struct Data {
  emulation::Guarded memory;
  View<Element> view;

  Data(const Case& c, int channels)
      : memory((c.points() * (channels + c.channel_padding) + c.shift) * sizeof(Element)) {
    view = view_at(c, memory.as<Element>() + c.shift, channels);
  }
  Element& at(int64_t point, int channel) const { return element(view, point, channel); }
  View<const Element> read() const { return reading(view); }
  void draw_all(double not_finite) const {
    for (int64_t p = 0; p < view.batch * view.pixels; ++p) {
      for (int c = 0; c < view.channels; ++c) {
        const double u = (draw() + 1) / 2;
        const double value = u < not_finite ? (u < not_finite / 3 ? NAN : u < not_finite / 2 ? -INFINITY : INFINITY) : draw();
        at(p, c) = narrow<Element>(static_cast<Accumulate<Element>>(value));
      }
    }
  }
};

struct Sum {
  double value = 0, size = 0;
  void add(double product) { value += product, size += std::fabs(product); }
};

inline void compare(const Case& c, const char* what, double got, const Sum& want, int64_t terms, int64_t a, int64_t b) {
  ++comparisons;
  const double unit = sizeof(Element) == 8 ? 1e-15 : 1.2e-7;                // of the accumulator
  const double rounding = sizeof(Element) != 2 ? unit : std::is_same_v<Element, __half> ? 0x1p-11 : 0x1p-8;
  double bound = unit * (4 + std::sqrt(double(terms))) * want.size + rounding * std::fabs(want.value) + 1e-300;
  if (c.tf32) bound += 0x1p-10 * want.size;
  if (std::is_same_v<Element, __half>) bound += 0x1p-25;
  const bool same = std::isfinite(want.value) ? std::fabs(got - want.value) <= bound
                    : std::isnan(want.value)  ? std::isnan(got)
                                              : got == want.value;
  if (!same && ++failures <= 20)
    std::printf("%s[%ld, %ld] is %g, not %g (%g off, %g allowed): %s\n", what, long(a), long(b), got, want.value,
                std::fabs(got - want.value), bound, c.text().c_str());
}

struct Problem {
  const Case& c;
  std::vector<int> start, order;
  emulation::Guarded starts, orders, weights, biases;
  int64_t filter_stride, offset_stride;
  Data x, grad;

  explicit Problem(const Case& of)
      : c(of), start(c.filters), order(c.filters), starts(c.filters * 4), orders(c.filters * 4),
        weights(int64_t{c.filters} * c.width * sizeof(Element)), biases(c.filters * sizeof(Element)),
        filter_stride(c.transposed_weight ? 1 : c.width), offset_stride(c.transposed_weight ? c.filters : 1),
        x(c, c.channels), grad(c, c.filters) {
    const int step = std::max(1, c.width * 2 / 3);
    for (int f = 0; f < c.filters; ++f) {
      const int group = static_cast<int>(int64_t{f} * c.channels / c.width / c.filters);
      start[f] = c.starts == Starts::sliding   ? static_cast<int>(int64_t{f} * step % c.channels)
                 : c.starts == Starts::grouped ? group * c.width
                                               : static_cast<int>(generator());
      starts.as<int>()[f] = start[f];
    }
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return first(a) < first(b); });
    std::copy(order.begin(), order.end(), orders.as<int>());
    for (int64_t i = 0; i < int64_t{c.filters} * c.width; ++i)
      weights.as<Element>()[i] = draw_one();
    for (int f = 0; f < c.filters; ++f) biases.as<Element>()[f] = draw_one();
    x.draw_all(c.not_finite);
    grad.draw_all(c.not_finite);
  }
  int first(int f) const { return (start[f] % c.channels + c.channels) % c.channels; }
  int channel(int f, int k) const { return (first(f) + k) % c.channels; }
  double weight(int f, int k) const { return exact(weights.as<Element>()[f * filter_stride + k * offset_stride]); }
  static Element draw_one() { return narrow<Element>(static_cast<Accumulate<Element>>(draw())); }
  Windows windows() const { return {starts.as<int>(), orders.as<int>(), c.channels, c.filters, c.width}; }
  emulation::Launcher launcher() const {
    emulation::Launcher launcher;
    launcher.multiprocessors = c.multiprocessors;
    launcher.tf32 = c.tf32;
    launcher.grid_limit = c.grid_limit;
    return launcher;
  }
  BandArgs<Element> band(const Data& in, const Data& out, bool is_grad) const {
    BandArgs<Element> args{};
    args.in = in.read();
    args.out = out.view;
    args.weight = weights.as<Element>();
    args.filter_stride = filter_stride;
    args.offset_stride = offset_stride;
    args.windows = windows();
    args.grad = is_grad;
    args.rows = c.layout == Layout::rows;
    return args;
  }
};
