// y[n, o] = act(bias[o] + sum_k weight[o, k] * x[n, (start[o] + k) mod C]), its input gradient and its weight gradient, on
// raw pointers and without threads of their own: every function does a range of work items, and the caller shares the
// range 0 ... items out among its threads. Results do not depend on how it does that.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "band.h"
#include "scalar.h"
#include "view.h"

namespace multipath_gcn {

// How the points (rows, or pixels of all images) are cut into tiles that fit a core's cache: runs of pixels within one
// image, or several whole images.
struct PointTiles {
  int64_t images_per_tile, pixels_per_tile, tiles_per_image, count;
  int64_t columns;  // points of a full tile, rounded up to whole vectors
};

// A weight [O, K] as it lies in memory, to be rearranged into the order in which the tiles of a band read it.
template <typename T>
struct Weight {
  const T* data;
  int64_t filter_stride, tap_stride;
};
template <typename T>
struct PackJob {
  const Windows* windows;
  bool transposed;  // for the input gradient
  Weight<T> weight;
};

// What will be read next: pieces of memory of so many cache lines, `stride` bytes apart.
struct Ahead {
  const void* first;
  int64_t lines, stride, pieces;
};

template <typename T>
struct TransformJob {
  const Band* band;
  const Band* paired;            // bfloat16 where the instruction set multiplies pairs, else null
  const Accumulator<T>* packed;  // null: every thread rearranges `weight` for itself
  const Pair* packed_pairs;
  PackJob<T> weight;
  bool weight_in_place;  // nothing is rearranged: few points, taps side by side, T its own accumulator
  const Accumulator<T>* bias;  // [outputs] in the order of the output tensor, or null
  bool relu;
  View<const T> in;
  View<T> out;
  PointTiles points;
  const Accumulator<T>* in_place;  // of the only tile of points: [inputs, columns], in the order of the band; else null
  Ahead ahead;  // beside the points of the next tile, which are known
  bool stream;     // store past the caches; needs rows or planes of whole cache lines
  int64_t groups;  // the tiles of the band are shared out among this many items per tile of points
};

// Every chunk of the tiles of points has its own partial sums; WeightGrad::finish adds them in the chunks' order.
template <typename T>
struct WeightGradJob {
  const Band* band;  // forward, of filters_per_tile outputs per tile
  int64_t width;
  View<const T> x, grad;
  PointTiles points;
  bool in_place;            // x is read where it lies (pairs: the gradient too)
  int64_t chunks, groups;  // items = chunks * groups
  Accumulator<T>* partial;  // [chunks, partial_stride]
  int64_t partial_stride;
  T* weight_grad;  // [outputs, width]
};

template <typename T>
struct WeightGrad {
  int filters_per_tile;
  int64_t most_points;  // of a tile of points
  int64_t points_per_vector;
  int64_t (*partial_size)(const Band&);  // per chunk; proportional to the multiply-adds per point
  void (*run)(const WeightGradJob<T>&, int64_t item_begin, int64_t item_end);
  void (*finish)(const WeightGradJob<T>&, int64_t tile_begin, int64_t tile_end);
};

// Where points are too few to fill vectors. Input gradient: x is the gradient, out the input's.
template <typename T>
struct FewPointsJob {
  Windows windows;
  const T* weight;
  int64_t filter_stride;       // taps lie side by side
  const Accumulator<T>* bias;  // or null
  bool relu;
  View<const T> x, grad;
  View<T> out;
  T* weight_grad;  // [O, K]
};

constexpr int64_t kInPlacePoints = 64;  // up to which a weight is not worth rearranging
constexpr int64_t kFewPoints = 16, kFewWorkAThread = 131072;  // multiply-adds worth waking a thread for

// Cycles per result, fitted on AVX-512: few points sum over lanes and store one by one; tiles of points fill up a vector, and
// rearrange the weight unless they read it where it lies.
template <typename T>
bool few_are_faster(int64_t points, int64_t width) {
  constexpr bool in_place = std::is_same_v<T, Accumulator<T>>;
  if (points > 4 * kFewPoints) return false;
  const double p = static_cast<double>(points), k = static_cast<double>(width);
  const double filled = static_cast<double>((points + kFewPoints - 1) / kFewPoints * kFewPoints);
  return 4 + 0.04 * k < 1 + (in_place ? 0 : 0.7 * k / p) + k * filled / (32 * p);
}

// The input gradient sums through memory instead. Where the weight would be rearranged it was fitted by the points alone.
template <typename T>
bool few_input_grad_is_faster(int64_t points, int64_t width) {
  return std::is_same_v<T, Accumulator<T>> ? few_are_faster<T>(points, width) : points <= kFewPoints;
}

// One table per instruction set.
template <typename T>
struct Kernels {
  int outputs_per_tile, vectors_per_tile, lanes;
  // A packed weight starts at the band's first tile, whichever tiles are packed.
  void (*pack_weight)(const PackJob<T>&, const Band&, Accumulator<T>*, int64_t tile_begin, int64_t tile_end);
  void (*pack_pairs)(const PackJob<T>&, const Band&, const Band& paired, Pair*, int64_t tile_begin, int64_t tile_end);  // or null
  void (*transform)(const TransformJob<T>&, int64_t item_begin, int64_t item_end);
  WeightGrad<T> pairs, outer;  // vectors over points, vectors over channels
  void (*few_forward)(const FewPointsJob<T>&, int64_t filter_begin, int64_t filter_end);
  void (*few_input_grad)(const FewPointsJob<T>&, int64_t point_begin, int64_t point_end);
  void (*few_weight_grad)(const FewPointsJob<T>&, int64_t filter_begin, int64_t filter_end);
};

template <typename T>
const Kernels<T>& kernels();  // of the chosen instruction set

// Tiles of about the given number of points, whole vectors of `step` points.
template <typename T>
PointTiles tiles_of_points(const View<T>& view, int64_t points, int64_t step) {
  constexpr int64_t kSmallImage = 128;  // several of them make a tile
  PointTiles tiles{};
  if (view.batch > 1 && view.pixels < 2 * points && view.pixels <= kSmallImage) {
    const int64_t most = std::min(view.batch, std::max<int64_t>(1, points / std::max<int64_t>(1, view.pixels)));
    tiles.count = (view.batch + most - 1) / most;
    tiles.images_per_tile = (view.batch + tiles.count - 1) / tiles.count;  // about the same number in each
    tiles.count = (view.batch + tiles.images_per_tile - 1) / tiles.images_per_tile;
    tiles.columns = (tiles.images_per_tile * view.pixels + step - 1) / step * step;
  } else {
    const int64_t parts = std::max<int64_t>(1, (view.pixels + points - 1) / points);
    tiles.pixels_per_tile = ((view.pixels + parts - 1) / parts + step - 1) / step * step;
    tiles.tiles_per_image = (view.pixels + tiles.pixels_per_tile - 1) / tiles.pixels_per_tile;
    tiles.count = view.batch * tiles.tiles_per_image;
    tiles.columns = tiles.pixels_per_tile;
  }
  return tiles;
}

// Channels-last images are rows without a break: one batch, where both tensors are like that.
template <typename T, typename U>
void merge_batches(View<T>& a, View<U>& b) {
  const auto unbroken = [](const auto& v) { return v.rows() && (v.batch == 1 || v.batch_stride == v.pixels * v.pixel_stride); };
  if (!unbroken(a) || !unbroken(b)) return;
  a.pixels *= a.batch, b.pixels *= b.batch;
  a.batch = b.batch = 1;
}

// Memory of the calling thread, aligned to a cache line, kept for its next call.
void* scratch(int64_t bytes);

}  // namespace multipath_gcn
