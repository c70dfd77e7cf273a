// What is worked out once per call: the passes of a convolution, their tapes, and where they find weights.
#include "grouped_conv2d.h"

#include <algorithm>
#include <map>

#include "isa.h"

namespace multipath_gcn {

namespace {

constexpr int64_t kTapeBytes = 192 << 10;
constexpr int64_t kSlack = 16;  // vectors that may be read past the last position

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Along one dimension: where a tap is found, by the phase's origin and the distance on the tape.
struct Step {
  int64_t k, origin, distance;
};

// The origins that occur, and their pairs: the phases of a pass.
ConvPass with_taps(ConvPass pass, const std::vector<Step>& rows, const std::vector<Step>& columns) {
  std::map<std::pair<int64_t, int64_t>, int64_t> phase;
  for (int64_t c = 0; c < pass.channels; ++c)
    for (const Step& r : rows)
      for (const Step& s : columns) {
        const auto [at, is_new] = phase.try_emplace({r.origin, s.origin}, pass.phases());
        if (is_new) {
          pass.origins[0].push_back(r.origin);
          pass.origins[1].push_back(s.origin);
        }
        pass.taps.push_back({at->second, c, r.distance, s.distance, r.k, s.k});
        pass.reach[0] = std::max(pass.reach[0], r.distance);
        pass.reach[1] = std::max(pass.reach[1], s.distance);
      }
  return pass;
}

}  // namespace

// Source row i stride + r dilation - padding: with r dilation = q stride + a, row i + q of phase a.
ConvPass forward_pass(const ConvShape& shape) {
  ConvPass pass{};
  pass.groups = shape.groups, pass.channels = shape.channels, pass.filters = shape.filters;
  std::vector<Step> steps[2];
  for (int d = 0; d < 2; ++d) {
    pass.size[d] = shape.out[d], pass.first[d] = 0, pass.step[d] = 1, pass.read_step[d] = shape.stride[d];
    for (int64_t k = 0; k < shape.kernel[d]; ++k) {
      const int64_t place = k * shape.dilation[d];
      steps[d].push_back({k, place % shape.stride[d] - shape.padding[d], place / shape.stride[d]});
    }
  }
  return with_taps(pass, steps[0], steps[1]);
}

// Row a + q stride of x meets row q + e of the gradient through the taps r with a + padding - r dilation = e stride.
std::vector<ConvPass> input_grad_passes(const ConvShape& shape) {
  std::vector<ConvPass> passes;
  for (int64_t a = 0; a < std::min(shape.stride[0], shape.in[0]); ++a)
    for (int64_t b = 0; b < std::min(shape.stride[1], shape.in[1]); ++b) {
      ConvPass pass{};
      pass.groups = shape.groups, pass.channels = shape.filters, pass.filters = shape.channels;
      std::vector<Step> steps[2];
      for (int d = 0; d < 2; ++d) {
        const int64_t first = d ? b : a, stride = shape.stride[d];
        pass.size[d] = (shape.in[d] - first + stride - 1) / stride;
        pass.first[d] = first, pass.step[d] = stride, pass.read_step[d] = 1;
        int64_t least = 0;
        std::vector<std::pair<int64_t, int64_t>> found;  // tap, e
        for (int64_t k = 0; k < shape.kernel[d]; ++k) {
          const int64_t place = first + shape.padding[d] - k * shape.dilation[d];
          const int64_t e = floor_div(place, stride);
          if (e * stride != place) continue;
          least = found.empty() ? e : std::min(least, e);
          found.push_back({k, e});
        }
        for (const auto& [k, e] : found) steps[d].push_back({k, least, e - least});
      }
      passes.push_back(with_taps(pass, steps[0], steps[1]));
    }
  return passes;
}

Tape tape_of(const ConvPass& pass, int64_t element_size, int64_t lanes) {
  Tape tape{};
  tape.pitch = pass.size[1] + pass.reach[1];
  const int64_t row = std::max<int64_t>(1, pass.phases() * pass.channels * tape.pitch * element_size);
  tape.rows = std::clamp<int64_t>(kTapeBytes / row - pass.reach[0], 1, std::max<int64_t>(1, pass.size[0]));
  tape.plane = (tape.rows + pass.reach[0]) * tape.pitch;
  tape.size = pass.phases() * pass.channels * tape.plane + kSlack * lanes;
  for (const Tap& tap : pass.taps)
    tape.offsets.push_back((tap.phase * pass.channels + tap.channel) * tape.plane + tap.row * tape.pitch + tap.column);
  return tape;
}

template <typename A>
ConvWeight<A> weight_for(const ConvPass& pass, const ConvShape& shape, const A* weight, bool transposed) {
  const int64_t size = shape.kernel[0] * shape.kernel[1], filter = shape.channels * size;
  ConvWeight<A> w{weight, shape.filters * filter, transposed ? size : filter, {}};
  for (const Tap& tap : pass.taps)
    w.offsets.push_back(tap.channel * (transposed ? filter : size) + tap.r * shape.kernel[1] + tap.s);
  return w;
}
template ConvWeight<float> weight_for(const ConvPass&, const ConvShape&, const float*, bool);
template ConvWeight<double> weight_for(const ConvPass&, const ConvShape&, const double*, bool);

#define DECLARE_TABLE        \
  template <typename T>      \
  const ConvKernels<T>& conv_table();

namespace baseline {
DECLARE_TABLE
}
#if defined(__x86_64__)
namespace avx2 {
DECLARE_TABLE
}
namespace avx512 {
DECLARE_TABLE
}
#endif

// bfloat16 is widened on its way onto the tape: AVX-512-BF16 has nothing to add.
template <typename T>
const ConvKernels<T>& conv_kernels() {
#if defined(__x86_64__)
  if (chosen_isa() >= Isa::avx512) return avx512::conv_table<T>();
  if (chosen_isa() == Isa::avx2) return avx2::conv_table<T>();
#endif
  return baseline::conv_table<T>();
}

#define DEFINE(T) template const ConvKernels<T>& conv_kernels();
DEFINE(float)
DEFINE(double)
DEFINE(BFloat16)

}  // namespace multipath_gcn
