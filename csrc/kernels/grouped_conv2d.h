// Grouped 2-d convolution and its gradients on raw pointers, without threads of their own.
//
//   y[n, g K + k, i, j] = relu(bias[g K + k] + residual[n, g K + k, i, j] + sum_{c < C, r < R, s < S} weight[g K + k, c, r, s]
//                              x[n, g C + c, i stride_h + r dilation_h - padding_h, j stride_w + s dilation_w - padding_w])
//
// with C channels and K filters a group, and 0 for what lies outside of x. The gradient by x is the same sum over the gradient
// of y, once for every phase of the stride: each such sum is a *pass*. Three kernels compute passes, by what vectors run over:
//
//   rows   columns of an output row, read from planar images where they lie               grouped_conv2d_rows.inl
//   lanes  filters of neighbouring groups, pixel by pixel                                  grouped_conv2d_lanes.inl
//   tape   output positions of many rows, of a group's padded copy: any memory, any sizes  grouped_conv2d_tape.inl
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "scalar.h"

namespace multipath_gcn {

// Element (n, c, i, j) lies at data[n batch_stride + c channel_stride + i row_stride + j pixel_stride].
template <typename T>
struct Images {
  T* data;
  int64_t batch, channels, height, width;
  int64_t batch_stride, channel_stride, row_stride, pixel_stride;
};

struct ConvShape {
  int64_t groups, channels, filters;  // the latter two of a group
  int64_t kernel[2], stride[2], dilation[2], padding[2];  // above and left; below and right is what `out` asks for
  int64_t in[2], out[2];
};

// Along one dimension: output i meets entry k of the weight at place i read_step + offset of the source. k of -1: no entry.
struct Step {
  int64_t k, offset;
};

// One lattice of outputs: output (i, j) of `size` is stored at row first[0] + i step[0], column first[1] + j step[1].
struct ConvPass {
  int64_t groups, channels, filters;  // of a group: of the source, and of the result
  int64_t size[2], first[2], step[2], read_step[2];
  std::vector<Step> steps[2];    // by offset
  std::vector<int64_t> beside;  // if any: the k of the columns beside these, at column first[1] + 1 + j step[1], by steps[1]

  int64_t least(int d) const { return steps[d].empty() ? 0 : steps[d].front().offset; }
  int64_t reach(int d) const { return steps[d].empty() ? 0 : steps[d].back().offset - steps[d].front().offset; }
};

ConvPass forward_pass(const ConvShape& shape);
std::vector<ConvPass> input_grad_passes(const ConvShape& shape);

// The weight of filter f, channel c and entry (r, s) of group g lies at data[g group + f filter + c channel + r row + s].
struct WeightStrides {
  int64_t group, filter, channel, row;
};
template <typename A>
struct ConvWeight {
  const A* data;
  WeightStrides stride;
};

// Of a weight [O, C, R, S], contiguous. For the gradient by x (transposed), filters are channels.
WeightStrides weight_strides(const ConvShape& shape, bool transposed);

// The tape of a band of at most `rows` output rows of a group: per phase of the stride and channel, padded rows in one run.
struct Tape {
  struct Phase {
    int64_t origin[2];  // tape row t is source row t read_step + origin, and columns alike
  };
  std::vector<Phase> phases;
  std::vector<int64_t> on_tape, of_weight;  // by tap: where position 0 finds it, where its weight is
  int64_t reach;                            // rows of the tape beyond those of the outputs
  int64_t rows, pitch, plane, size;         // pitch: from row to row; plane: from channel to channel; size: of all, with what
                                            // vectors read past the end
};

// Which filters share vectors: those of `groups` neighbours, or of a part of one group.
struct LaneBlocks {
  int64_t groups, parts, count;     // of a block; of a group; in all
  int64_t rows, tape_rows, pitch;   // output rows of a band, and what they read: a vector for every pixel
  int64_t packed;                   // weights of a block
};

enum class ConvWay : int { rows, lanes, tape };
inline const char* way_name(ConvWay way) { return way == ConvWay::rows ? "rows" : way == ConvWay::lanes ? "lanes" : "tape"; }

template <typename T>
struct ConvJob {
  using A = Accumulator<T>;
  const ConvPass* pass;
  Images<const T> x;
  Images<T> y;
  ConvWeight<A> weight;
  const A* bias;  // [groups filters] or null
  bool relu;
  int64_t rows, bands;        // rows of a task; bands of so many rows
  const Tape* tape;           // of that way
  const LaneBlocks* blocks;   // of that way
  const A* packed;            // all blocks' weights, or null
  const T* residual;          // of a forward pass: images that lie as y does, or null
};

// weight_grad[g, k, tap] = sum over outputs p of grad[k, p] x[p met by tap]
template <typename T>
struct ConvWeightGradJob {
  const ConvPass* pass;  // forward
  Images<const T> x, grad;
  Accumulator<T>* weight_grad;  // [groups][filters][taps]
  int64_t rows;                 // of outputs at once
  int64_t slices;               // rows, tape: a group's filters are shared out in so many; lanes: a block's rows of the weight
  const Tape* tape;
  const LaneBlocks* blocks;
};

constexpr int64_t kConvFilters = 4;  // of a group, at once, at most

template <typename T>
struct UnevenJob;  // uneven_conv2d.h

template <typename T>
struct ConvKernels {
  using Run = void (*)(const ConvJob<T>&, int64_t task_begin, int64_t task_end);
  using RunWeightGrad = void (*)(const ConvWeightGradJob<T>&, int64_t task_begin, int64_t task_end);
  int64_t lanes;
  Run run[3];  // by way
  void (*pack)(const ConvJob<T>&, int64_t block, Accumulator<T>* packed);
  RunWeightGrad weight_grad[3];
  void (*uneven)(const UnevenJob<T>&, int64_t task_begin, int64_t task_end, Accumulator<T>* memory);
};

template <typename T>
const ConvKernels<T>& conv_kernels();  // of the chosen instruction set

// Passes over one source, ready to be run by any number of threads: the result is the same.
template <typename T>
class Convolution {
 public:
  using A = Accumulator<T>;
  // way: the one to take, which must be possible; the rule's by default.
  Convolution(std::vector<ConvPass> passes, const Images<const T>& x, const Images<T>& y, const ConvWeight<A>& weight,
              const A* bias, bool relu, const A* packed = nullptr, std::optional<ConvWay> way = std::nullopt,
              const T* residual = nullptr);
  Convolution(const Convolution&) = delete;

  ConvWay way() const { return way_; }
  int64_t tasks() const { return tasks_; }
  void run(int64_t begin, int64_t end) const;
  // Of other images, which lie as x and y do.
  void run(int64_t begin, int64_t end, const T* x, T* y) const;

 private:
  struct Part {
    ConvPass pass;
    Tape tape;
    LaneBlocks blocks;
    ConvJob<T> job;  // of the three above
  };
  ConvWay way_;
  std::vector<Part> parts_;
  int64_t tasks_;
};

// The gradient by the weight, likewise: whatever the number of threads, a sum is one thread's, in one order.
template <typename T>
class ConvolutionWeightGrad {
 public:
  ConvolutionWeightGrad(ConvPass forward, const Images<const T>& x, const Images<const T>& grad, Accumulator<T>* weight_grad,
                        std::optional<ConvWay> way = std::nullopt);
  ConvolutionWeightGrad(const ConvolutionWeightGrad&) = delete;

  ConvWay way() const { return way_; }
  int64_t tasks() const { return tasks_; }
  void run(int64_t begin, int64_t end) const { conv_kernels<T>().weight_grad[static_cast<int>(way_)](job_, begin, end); }

 private:
  ConvPass pass_;
  Tape tape_;
  LaneBlocks blocks_;
  ConvWeightGradJob<T> job_;
  ConvWay way_;
  int64_t tasks_;
};

// Whether a way can compute y of x, or of a forward pass the gradient by the weight, y being the gradient by the outputs.
template <typename T, typename U>
bool possible(ConvWay way, const ConvPass& pass, const Images<const T>& x, const Images<U>& y);

constexpr int64_t kTapeBytes = 192 << 10;
// Of at most so many bytes, as long as it has one row; taps are listed of that many channels, all of them by default.
Tape tape_of(const ConvPass& pass, const WeightStrides& weight, int64_t element_size, int64_t lanes,
             int64_t bytes = kTapeBytes, std::optional<int64_t> listed = std::nullopt);
LaneBlocks lane_blocks(const ConvPass& pass, int64_t element_size, int64_t lanes);

}  // namespace multipath_gcn
