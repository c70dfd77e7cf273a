// Convolution in groups of different width that read channels of their own choice, for inference, on raw pointers and without
// threads of its own:
//
//   y[n, o_g[k], i, j] = relu(bias[o_g[k]] + residual[n, o_g[k], i, j] + sum_{c < |S_g|, r < R, s < S} weight_g[k, c, r, s]
//                             x[n, S_g[c], i stride_h + r dilation_h - padding_h, j stride_w + s dilation_w - padding_w])
//
// On the tape of grouped_conv2d.h: a band of an image is copied once, whatever groups read it. The sum of an output is taken in
// one order, however tasks are cut.
#pragma once
#include "grouped_conv2d.h"

namespace multipath_gcn {

// Group g: inputs S_g, outputs o_g.
struct UnevenGroup {
  const int64_t *inputs, *outputs;
  int64_t channels, filters;
};

// At most kConvFilters filters of one group.
template <typename A>
struct UnevenFilters {
  const int64_t *inputs, *outputs;
  int64_t channels, filters;
  const A* weight;  // [filters][channels][R][S]
};

template <typename T>
struct UnevenJob {
  ConvJob<T> conv;  // of one group with all channels; its weight is not used
  const UnevenFilters<Accumulator<T>>* blocks;
  const int64_t* share;  // share s has blocks [share[s], share[s + 1])
  int64_t shares;
};

inline int64_t uneven_line(const Tape& tape, int64_t lanes) { return (tape.rows * tape.pitch + lanes - 1) / lanes * lanes + lanes; }

template <typename T>
class UnevenConv2d {
 public:
  using A = Accumulator<T>;
  // shape: of one group that has all channels and filters. weight: of the groups, one after the other.
  UnevenConv2d(const ConvShape& shape, const std::vector<UnevenGroup>& groups, const A* weight, const A* bias, bool relu,
               const T* residual, const Images<const T>& x, const Images<T>& y, int64_t threads);
  UnevenConv2d(const UnevenConv2d&) = delete;

  int64_t tasks() const { return tasks_; }
  void run(int64_t begin, int64_t end) const;

 private:
  ConvPass pass_;
  Tape tape_;
  std::vector<UnevenFilters<A>> blocks_;
  std::vector<int64_t> share_;
  UnevenJob<T> job_{};
  int64_t memory_, tasks_;
};

}  // namespace multipath_gcn
