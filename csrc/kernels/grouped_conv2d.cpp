// What is worked out once per call: the passes of a convolution, their tapes, and where they find weights.
#include "grouped_conv2d.h"

#include <algorithm>
#include <map>

#include "isa.h"

namespace multipath_gcn {

namespace {

constexpr int64_t kLaneBytes = 128 << 10;
constexpr int64_t kSlack = 16;    // vectors that may be read past the last position
constexpr int64_t kBandBytes = 24 << 10;
constexpr int64_t kFewTasks = 16, kFewBlocks = 4;
constexpr int64_t kTurn = 8;  // tasks of one pass, before the next pass takes the same

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

// Source row i stride + r dilation - padding.
ConvPass forward_pass(const ConvShape& shape) {
  ConvPass pass{};
  pass.groups = shape.groups, pass.channels = shape.channels, pass.filters = shape.filters;
  for (int d = 0; d < 2; ++d) {
    pass.size[d] = shape.out[d], pass.first[d] = 0, pass.step[d] = 1, pass.read_step[d] = shape.stride[d];
    for (int64_t k = 0; k < shape.kernel[d]; ++k) pass.steps[d].push_back({k, k * shape.dilation[d] - shape.padding[d]});
  }
  return pass;
}

// Row a + q stride of x meets row q + e of the gradient through the taps r with a + padding - r dilation = e stride.
std::vector<ConvPass> input_grad_passes(const ConvShape& shape) {
  std::vector<ConvPass> passes;
  for (int64_t a = 0; a < std::min(shape.stride[0], shape.in[0]); ++a)
    for (int64_t b = 0; b < std::min(shape.stride[1], shape.in[1]); ++b) {
      ConvPass pass{};
      pass.groups = shape.groups, pass.channels = shape.filters, pass.filters = shape.channels;
      for (int d = 0; d < 2; ++d) {
        const int64_t first = d ? b : a, stride = shape.stride[d];
        pass.size[d] = ceil_div(shape.in[d] - first, stride);
        pass.first[d] = first, pass.step[d] = stride, pass.read_step[d] = 1;
        for (int64_t k = shape.kernel[d] - 1; k >= 0; --k) {
          const int64_t place = first + shape.padding[d] - k * shape.dilation[d], e = floor_div(place, stride);
          if (e * stride == place) pass.steps[d].push_back({k, e});
        }
      }
      passes.push_back(pass);
    }
  return passes;
}

WeightStrides weight_strides(const ConvShape& shape, bool transposed) {
  const int64_t size = shape.kernel[0] * shape.kernel[1], filter = shape.channels * size;
  return {shape.filters * filter, transposed ? size : filter, transposed ? filter : size, shape.kernel[1]};
}

Tape tape_of(const ConvPass& pass, const WeightStrides& weight, int64_t element_size, int64_t lanes, int64_t bytes,
             std::optional<int64_t> listed) {
  Tape tape{};
  // A place o of the source is place floor(o / read_step) of phase o mod read_step.
  int64_t least[2], reach[2];
  for (int d = 0; d < 2; ++d) {
    least[d] = floor_div(pass.least(d), pass.read_step[d]);
    reach[d] = floor_div(pass.least(d) + pass.reach(d), pass.read_step[d]) - least[d];
  }
  std::map<std::pair<int64_t, int64_t>, int64_t> phases;
  const auto phase_of = [&](int d, const Step& step) {
    return step.offset - floor_div(step.offset, pass.read_step[d]) * pass.read_step[d];
  };
  for (const Step& r : pass.steps[0])
    for (const Step& s : pass.steps[1])
      if (phases.try_emplace({phase_of(0, r), phase_of(1, s)}, phases.size()).second)
        tape.phases.push_back({{phase_of(0, r) + least[0] * pass.read_step[0], phase_of(1, s) + least[1] * pass.read_step[1]}});
  const int64_t planes = static_cast<int64_t>(tape.phases.size()) * pass.channels;
  tape.reach = reach[0];
  tape.pitch = pass.size[1] + reach[1];
  tape.rows = std::clamp<int64_t>(bytes / std::max<int64_t>(1, planes * tape.pitch * element_size) - tape.reach, 1,
                                  std::max<int64_t>(1, pass.size[0]));
  tape.plane = (tape.rows + tape.reach) * tape.pitch;
  tape.size = planes * tape.plane + kSlack * lanes;
  for (int64_t c = 0; c < listed.value_or(pass.channels); ++c)
    for (const Step& r : pass.steps[0])
      for (const Step& s : pass.steps[1]) {
        const int64_t plane = phases.at({phase_of(0, r), phase_of(1, s)}) * pass.channels + c;
        const int64_t row = floor_div(r.offset, pass.read_step[0]) - least[0];
        const int64_t column = floor_div(s.offset, pass.read_step[1]) - least[1];
        tape.on_tape.push_back(plane * tape.plane + row * tape.pitch + column);
        tape.of_weight.push_back(c * weight.channel + r.k * weight.row + s.k);
      }
  return tape;
}

LaneBlocks lane_blocks(const ConvPass& pass, int64_t element_size, int64_t lanes) {
  LaneBlocks blocks{};
  blocks.groups = std::clamp<int64_t>(std::min(lanes / pass.filters, lanes / pass.channels), 1, pass.groups);
  blocks.parts = blocks.groups > 1 ? 1 : ceil_div(pass.filters, lanes);
  blocks.count = ceil_div(pass.groups, blocks.groups) * blocks.parts;
  blocks.pitch = (pass.size[1] - 1) * pass.read_step[1] + pass.reach(1) + 1;
  const int64_t row = blocks.pitch * lanes * element_size;
  blocks.rows = std::clamp<int64_t>((kLaneBytes / row - pass.reach(0) - 1) / pass.read_step[0] + 1, 1, pass.size[0]);
  blocks.tape_rows = (blocks.rows - 1) * pass.read_step[0] + pass.reach(0) + 1;
  blocks.packed = pass.channels * static_cast<int64_t>(pass.steps[0].size() * pass.steps[1].size()) * lanes;
  return blocks;
}

namespace {

// Output rows of a task by rows: enough tasks to share out, and with many filters no more of x than the first cache holds.
int64_t rows_of_a_task(const ConvPass& pass, int64_t batch, int64_t width, int64_t element_size) {
  const int64_t bands = ceil_div(kFewTasks, std::max<int64_t>(1, batch * pass.groups));
  int64_t rows = ceil_div(pass.size[0], bands);
  const int64_t row = std::max<int64_t>(1, pass.channels * width * element_size * pass.read_step[0]);
  if (pass.filters > 4) rows = std::min(rows, kBandBytes / row);
  return std::clamp<int64_t>((rows + 7) / 8 * 8, 1, pass.size[0]);
}

// Whether vectors over a row would be used for the most part.
bool fills(int64_t width, int64_t lanes) { return 10 * width >= 8 * ceil_div(width, lanes) * lanes; }

// Which way is taken, as measured (benchmarks/results/grouped_conv2d): rows of few filters unless vectors would be half empty.
template <typename T>
ConvWay chosen_way(const ConvPass& pass, const Images<const T>& x, const Images<T>& y) {
  const int64_t lanes = conv_kernels<T>().lanes, width = pass.size[1];
  const bool full = fills(width, lanes), few = pass.filters <= kConvFilters;
  const bool pairs = pass.step[1] == 2 && pass.filters <= 2 * kConvFilters;
  const bool rows = possible(ConvWay::rows, pass, x, y), by_lanes = possible(ConvWay::lanes, pass, x, y);
  if (rows && (full ? few || pairs : few && !by_lanes)) return ConvWay::rows;
  return by_lanes ? ConvWay::lanes : ConvWay::tape;
}

}  // namespace

template <typename T, typename U>
bool possible(ConvWay way, const ConvPass& pass, const Images<const T>& x, const Images<U>& y) {
  const bool in_rows = x.pixel_stride == 1 && y.pixel_stride == 1;
  if (way == ConvWay::tape) return true;
  if (way == ConvWay::rows) return in_rows && pass.read_step[1] <= 2;
  const bool whole = pass.step[0] == 1 && pass.step[1] == 1 && y.row_stride == y.width;
  const bool turned = std::is_same_v<T, U> && x.channel_stride == 1 && y.pixel_stride == 1;  // outputs, off the tape
  return pass.channels <= conv_kernels<T>().lanes && pass.channels > 0 && pass.filters > 0 &&
         ((x.channel_stride == 1 && y.channel_stride == 1) || ((in_rows || turned) && whole));
}

namespace {

// Of the passes of a stride of two over columns, neighbours become one.
std::vector<ConvPass> paired(const std::vector<ConvPass>& passes) {
  std::vector<ConvPass> pairs;
  for (const ConvPass& pass : passes) {
    if (pass.step[1] != 2 || pass.first[1] == 0) {
      pairs.push_back(pass);
      continue;
    }
    std::map<int64_t, std::pair<int64_t, int64_t>> entries;  // by offset
    for (const Step& s : pairs.back().steps[1]) entries[s.offset] = {s.k, -1};
    for (const Step& s : pass.steps[1]) entries.try_emplace(s.offset, -1, -1).first->second.second = s.k;
    pairs.back().steps[1].clear();
    for (const auto& [offset, k] : entries) pairs.back().steps[1].push_back({k.first, offset}), pairs.back().beside.push_back(k.second);
  }
  return pairs;
}

}  // namespace

template <typename T>
Convolution<T>::Convolution(std::vector<ConvPass> passes, const Images<const T>& x, const Images<T>& y,
                            const ConvWeight<A>& weight, const A* bias, bool relu, const A* packed, std::optional<ConvWay> way,
                            const T* residual)
    : way_(way ? *way : chosen_way(passes.front(), x, y)) {
  const int64_t lanes = conv_kernels<T>().lanes;
  if (way_ == ConvWay::rows) passes = paired(passes);
  parts_.resize(passes.size());
  int64_t columns = x.batch * passes.front().groups, rows = passes.front().size[0];  // of tasks
  if (way_ == ConvWay::rows) rows = rows_of_a_task(passes.front(), x.batch, x.width, sizeof(T));
  for (size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    part.pass = std::move(passes[i]);
    if (way_ == ConvWay::lanes) {
      part.blocks = lane_blocks(part.pass, sizeof(A), lanes);
      rows = std::min(rows, part.blocks.rows), columns = x.batch * part.blocks.count;
    } else if (way_ == ConvWay::tape) {
      part.tape = tape_of(part.pass, weight.stride, sizeof(A), lanes);
      rows = std::min(rows, part.tape.rows);
    }
  }
  const int64_t bands = ceil_div(parts_.front().pass.size[0], rows);  // the first pass has the most rows
  for (Part& part : parts_)
    part.job = {&part.pass, x, y, weight, bias, relu, rows, bands, &part.tape, &part.blocks, packed, residual};
  tasks_ = columns * bands;
}

// Passes take turns at a few tasks, whose source is in the cache by then; but by lanes, a block's weights are packed anew
// whenever it is come to.
template <typename T>
void Convolution<T>::run(int64_t begin, int64_t end) const {
  const auto kernel = conv_kernels<T>().run[static_cast<int>(way_)];
  const int64_t some = parts_.size() > 1 && way_ != ConvWay::lanes ? kTurn : end - begin;
  for (; begin < end; begin += some)
    for (const Part& part : parts_) kernel(part.job, begin, std::min(end, begin + some));
}

template <typename T>
void Convolution<T>::run(int64_t begin, int64_t end, const T* x, T* y) const {
  for (const Part& part : parts_) {
    ConvJob<T> job = part.job;
    job.x.data = x, job.y.data = y;
    conv_kernels<T>().run[static_cast<int>(way_)](job, begin, end);
  }
}

namespace {

// As measured: rows of depthwise filters, or of two channels and filters if they are long.
template <typename T>
ConvWay chosen_way(const ConvPass& pass, const Images<const T>& x, const Images<const T>& grad) {
  const int64_t lanes = conv_kernels<T>().lanes, width = pass.size[1], products = pass.channels * pass.filters;
  const bool few = fills(width, lanes) && (products <= 2 || (products <= 4 && width > 2 * lanes));
  const bool rows = possible(ConvWay::rows, pass, x, grad), by_lanes = possible(ConvWay::lanes, pass, x, grad);
  if (rows && few) return ConvWay::rows;
  return by_lanes ? ConvWay::lanes : ConvWay::tape;
}

}  // namespace

template <typename T>
ConvolutionWeightGrad<T>::ConvolutionWeightGrad(ConvPass forward, const Images<const T>& x, const Images<const T>& grad,
                                                Accumulator<T>* weight_grad, std::optional<ConvWay> way)
    : pass_(std::move(forward)), way_(way ? *way : chosen_way(pass_, x, grad)) {
  using A = Accumulator<T>;
  const int64_t lanes = conv_kernels<T>().lanes;
  job_ = {&pass_, x, grad, weight_grad, 0, 1, &tape_, &blocks_};
  int64_t columns = pass_.groups;  // of tasks
  if (way_ == ConvWay::lanes) {
    blocks_ = lane_blocks(pass_, sizeof(A), lanes);
    job_.rows = blocks_.rows, columns = blocks_.count;
    if (columns < kFewBlocks && pass_.channels > 1) job_.slices = static_cast<int64_t>(pass_.steps[0].size());
  } else {
    if (way_ == ConvWay::tape) {
      const int64_t taps = static_cast<int64_t>(pass_.steps[0].size() * pass_.steps[1].size());
      const WeightStrides any{0, pass_.channels * taps, taps, static_cast<int64_t>(pass_.steps[1].size())};
      tape_ = tape_of(pass_, any, sizeof(A), lanes);
    }
    const int64_t row = std::max<int64_t>(1, (kConvFilters + 1) * x.width * static_cast<int64_t>(sizeof(T)));
    job_.rows = way_ == ConvWay::tape ? tape_.rows : std::clamp<int64_t>(kBandBytes / row, 1, pass_.size[0]);
    job_.slices = std::min(ceil_div(pass_.filters, kConvFilters), ceil_div(kFewTasks, pass_.groups));
  }
  tasks_ = columns * job_.slices;
}

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

#define DEFINE(T)                                                                                        \
  template const ConvKernels<T>& conv_kernels();                                                         \
  template class Convolution<T>;                                                                         \
  template class ConvolutionWeightGrad<T>;                                                               \
  template bool possible(ConvWay, const ConvPass&, const Images<const T>&, const Images<const T>&);      \
  template bool possible(ConvWay, const ConvPass&, const Images<const T>&, const Images<T>&);
DEFINE(float)
DEFINE(double)
DEFINE(BFloat16)

}  // namespace multipath_gcn
