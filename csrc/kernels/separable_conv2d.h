// A depthwise convolution and the channel transform of its result, on raw pointers and without threads of their own:
//
//   h[n, c, i, j] = act1(b1[c] + sum_{r, s} D[c, r, s] x[n, c, i stride_h + r dilation_h - padding_h, j stride_w + ...])
//   y[n, o, i, j] = act2(b2[o] + sum_{k < K} W[o, k] h[n, (start[o] + k) mod C, i, j])
//
// By the kernels of both, tile by tile: some rows of an image, or some whole images. The h of a tile stays in the cache of the
// thread that computes it, in the very order in which the transform wants its points. Where tiles would leave vectors empty or
// threads idle, the two follow one another, and h is shared: two stages, with a barrier between them.
#pragma once
#include <memory>
#include <vector>

#include "channel_plan.h"
#include "grouped_conv2d.h"

namespace multipath_gcn {

template <typename T>
struct DepthwiseOperands {
  using A = Accumulator<T>;
  ConvShape shape;  // channels and filters of a group: 1
  const A* weight;  // [C, R, S]
  const A* packed;  // by lanes
  const A* bias;    // [C] or null
  bool relu;
};

template <typename T>
struct PointwiseOperands {
  const TransformPlan<T>* plan;
  Windows windows;
  const void* packed;  // by the plan
  const T* taps;       // [O, K]
  const Accumulator<T>* bias;  // [O] or null
  bool relu;
};

template <typename T>
class SeparableConv2d {
 public:
  // y: contiguous or channels-last. Results do not depend on the threads.
  SeparableConv2d(const DepthwiseOperands<T>& depthwise, const PointwiseOperands<T>& pointwise, const Images<const T>& x,
                  const View<T>& y, int64_t threads);

  // Memory that stages share, of so many bytes, aligned to a cache line; 0: there is one stage, and it takes none.
  int64_t shared_bytes() const { return shared_bytes_; }
  void share(void* memory);

  int stages() const { return shared_bytes_ > 0 ? 2 : 1; }
  int64_t tasks(int stage) const;
  int64_t grain(int stage) const;  // tasks worth a thread
  void run(int stage, int64_t begin, int64_t end) const;

 private:
  using A = Accumulator<T>;

  // h of some rows of some images: [C, columns], the points of a channel side by side.
  struct Tile {
    int64_t image, images, row, rows;
    const T* x;   // of its first image, from the first row that it reads
    int band;     // its convolution
  };
  struct Band {  // what tiles have in common that lie alike in their images
    int64_t images, rows, first, height;  // first: of the rows read, beside the first that there is
    std::unique_ptr<Convolution<T>> convolution;
  };

  void cut(int64_t threads);
  double cost(int64_t images, int64_t rows, bool by_rows, int64_t threads) const;
  void add_tile(int64_t image, int64_t images, int64_t row, int64_t rows);
  std::unique_ptr<Convolution<T>> convolution(int64_t images, int64_t rows, int64_t first, int64_t height, T* h) const;
  int64_t points(int64_t images, int64_t rows) const { return images * rows * depthwise_.shape.out[1]; }
  Ahead source(const Tile& tile) const;
  TransformJob<T> of_tile(const Tile& tile, const T* h) const;

  DepthwiseOperands<T> depthwise_;
  PointwiseOperands<T> pointwise_;
  Images<const T> x_;
  View<T> y_;
  TransformJob<T> job_;
  int64_t channels_, columns_ = 0;  // columns: from channel to channel of a tile's h
  std::vector<Tile> tiles_;
  std::vector<Band> bands_;
  int64_t shared_bytes_ = 0;
  bool few_ = false, in_rows_ = false;  // shared h lies as x does, which few points are read from best
  std::unique_ptr<Convolution<T>> whole_;  // of all images, into shared memory
  FewPointsJob<T> few_job_{};
};

}  // namespace multipath_gcn
