// Grouped 2-d convolution and its gradients on raw pointers, without threads of their own.
//
//   y[n, g K + k, i, j] = relu(bias[g K + k] + sum_{c < C, r < R, s < S} weight[g K + k, c, r, s]
//                              x[n, g C + c, i stride_h + r dilation_h - padding_h, j stride_w + s dilation_w - padding_w])
//
// with C channels and K filters a group, and 0 for what lies outside of x. All that reads x reads it from a *tape*: the rows
// of one group that a band of output rows needs, padded, in one run of memory per channel and phase of the stride. On it a
// tap (c, r, s) is a fixed distance, and all output positions of the band are one line, p = i pitch + j:
//
//   y[k, p] = sum over taps of weight[k, tap] tape[p + offset(tap)]
//
// so that vectors run over positions whatever the image's width, and the filters of a group share every load. Positions
// past the end of an output row are computed, and not stored. The gradient by x is the same sum over the gradient of y, once
// for every phase of the stride (plan.h); that by weight is a product of two tapes.
#pragma once
#include <cstdint>
#include <memory>
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

struct Tap {
  int64_t phase, channel, row, column;  // where on the tape position 0 finds it
  int64_t r, s;                         // of the weight
};

// One lattice of outputs: output (i, j) of `size` is stored at row first[0] + i step[0], column first[1] + j step[1].
struct ConvPass {
  int64_t groups, channels, filters;   // of a group: on the tape, and in the result
  int64_t size[2], first[2], step[2];
  int64_t read_step[2];                // tape row t of phase a is row t read_step[0] + origin[a][0] of the source, for i = t
  std::vector<int64_t> origins[2];     // [phase] of rows, of columns
  std::vector<Tap> taps;
  int64_t reach[2] = {0, 0};           // rows and columns of the tape beyond those of the outputs

  int64_t phases() const { return static_cast<int64_t>(origins[0].size()); }
};

ConvPass forward_pass(const ConvShape& shape);
std::vector<ConvPass> input_grad_passes(const ConvShape& shape);

// The tape of a band of at most `rows` output rows.
struct Tape {
  int64_t rows, pitch, plane, size;  // pitch: from row to row; plane: from channel to channel; size: of all, with what
                                     // vectors read past the end
  std::vector<int64_t> offsets;      // of taps
};

// Filter f of group g reads the weight of tap t at data[g group_stride + f filter_stride + offsets[t]].
template <typename A>
struct ConvWeight {
  const A* data;
  int64_t group_stride, filter_stride;
  std::vector<int64_t> offsets;
};

constexpr int64_t kConvFilters = 4;  // at once, at most

template <typename T>
struct ConvJob {
  Images<const T> x;
  Images<T> y;
  const ConvPass* pass;
  const Tape* tape;
  const ConvWeight<Accumulator<T>>* weight;
  const Accumulator<T>* bias;  // [groups filters] or null
  bool relu;

  int64_t bands() const { return (pass->size[0] + tape->rows - 1) / tape->rows; }
  int64_t tasks() const { return x.batch * pass->groups * bands(); }
};

template <typename T>
struct ConvWeightGradJob {
  Images<const T> x, grad;
  const ConvPass* pass;  // forward
  const Tape* tape;
  Accumulator<T>* weight_grad;  // [groups][filters][taps]
  int64_t slices;               // a group's filters are shared out in so many

  int64_t tasks() const { return pass->groups * slices; }
};

template <typename T>
struct ConvKernels {
  int64_t lanes;
  void (*run)(const ConvJob<T>&, int64_t task_begin, int64_t task_end);
  void (*weight_grad)(const ConvWeightGradJob<T>&, int64_t task_begin, int64_t task_end);
};

template <typename T>
const ConvKernels<T>& conv_kernels();  // of the chosen instruction set

// A tape of so many output rows as keep it in the second cache.
Tape tape_of(const ConvPass& pass, int64_t element_size, int64_t lanes);

// weight [O, C, R, S], contiguous, as a pass reads it. For the gradient by x (transposed), o is the tape's channel and c the
// filter.
template <typename A>
ConvWeight<A> weight_for(const ConvPass& pass, const ConvShape& shape, const A* weight, bool transposed);

}  // namespace multipath_gcn
