// What a row makes of its entries e in their order, with x[e] short for x[col[e], f] and A[e] for the entry's value:
//
//   sum      sum_e A[e] x[e]
//   chosen   sum_e A[e] x[e] [source[col[e], f] = row]      the gradient of an extreme, by the transposed matrix
//   extreme  max or min of A[e] x[e] and its column; the first of equals, the first NaN before anything else
//
// A reduction has Values, a thread's part of a row; add(), which takes an entry's word; and append(), which takes a sum
// (an extreme) of later entries.
#pragma once
#include "csr.cuh"
#include "lanes.cuh"

namespace multipath_gcn::gpu {

enum class Reduce { sum, chosen, extreme };

template <typename T, typename Index>
struct PropagateArgs {
  using S = Accumulate<T>;
  Csr<Index, S> matrix;
  const T* x;  // [columns, F]
  int64_t x_stride;
  const int* chosen;  // [columns, F], for Reduce::chosen
  T* y;               // [rows, F]
  int* source;        // [rows, F], for Reduce::extreme
  bool largest;
  RowTiles tiles;
  Segments segments;
  S* partial;           // [segments, 2, F]
  int* partial_source;  // likewise, for Reduce::extreme
};

template <typename T, int kWord, Reduce kReduce>
struct Reduction {
  using S = Accumulate<T>;
  using Values = gpu::Values<S, kWord>;

  template <typename Index>
  static __device__ __forceinline__ Vector<T, kWord> read(const PropagateArgs<T, Index>& args, int64_t row,
                                                          int64_t column, int64_t f) {
    Vector<T, kWord> x = load<kWord>(args.x + column * args.x_stride + f);
    if constexpr (kReduce == Reduce::chosen) {
      const auto chosen = load<kWord>(args.chosen + column * args.tiles.features + f);
#pragma unroll
      for (int k = 0; k < kWord; ++k)
        if (chosen.value[k] != row) x.value[k] = narrow<T>(0.0f);
    }
    return x;
  }

  static __device__ __forceinline__ void add(Values& sum, int p, const Vector<T, kWord>& x, S value, int64_t, bool) {
#pragma unroll
    for (int k = 0; k < kWord; ++k) sum.of[p][k] += value * widen(x.value[k]);
  }

  static __device__ __forceinline__ void append(Values& sum, int p, const S* later, const int*, bool) {
    const auto more = load<kWord>(later);
#pragma unroll
    for (int k = 0; k < kWord; ++k) sum.of[p][k] += more.value[k];
  }
};

template <typename T, int kWord>
struct Reduction<T, kWord, Reduce::extreme> : Reduction<T, kWord, Reduce::sum> {
  using S = Accumulate<T>;
  struct Values : gpu::Values<S, kWord> {
    int column[words_per_lane(kWord)][kWord];  // -1 until there is one
    __device__ __forceinline__ Values() {
      for (auto& word : column)
        for (int& c : word) c = -1;
    }
  };

  static __device__ __forceinline__ void take(Values& best, int p, int k, S value, int column, bool largest) {
    S& current = best.of[p][k];
    const bool better = largest ? value > current : value < current;
    const bool first_nan = value != value && current == current;
    if (best.column[p][k] >= 0 && !better && !first_nan) return;
    current = value;
    best.column[p][k] = column;
  }

  static __device__ __forceinline__ void add(Values& best, int p, const Vector<T, kWord>& x, S value, int64_t column,
                                             bool largest) {
#pragma unroll
    for (int k = 0; k < kWord; ++k)
      take(best, p, k, value * widen(x.value[k]), static_cast<int>(column), largest);
  }

  static __device__ __forceinline__ void append(Values& best, int p, const S* later, const int* source, bool largest) {
    const auto value = load<kWord>(later);
    const auto column = load<kWord>(source);
#pragma unroll
    for (int k = 0; k < kWord; ++k)
      if (column.value[k] >= 0) take(best, p, k, value.value[k], column.value[k], largest);
  }
};

// Entries [begin, end) of a row. Several are under way at once, which changes nothing about their order.
template <Reduce kReduce, typename T, int kWord, typename Index, typename Values>
__device__ __forceinline__ void reduce(const PropagateArgs<T, Index>& args, const Lane<kWord>& lane, int64_t row,
                                       int64_t begin, int64_t end, Values& values) {
  using R = Reduction<T, kWord, kReduce>;
  using S = Accumulate<T>;
  constexpr int kBatch = 4, kWords = Lane<kWord>::kWords;
  const S scale = args.matrix.scale_of(row);
  for (int64_t e = begin; e < end; e += kBatch) {
    Index column[kBatch];
    S value[kBatch];
    Vector<T, kWord> x[kBatch][kWords];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) column[b] = e + b < end ? args.matrix.column(e + b) : -1;
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
      if (column[b] >= 0) value[b] = args.matrix.value(e + b, column[b], scale);
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
#pragma unroll
      for (int p = 0; p < kWords; ++p)
        if (column[b] >= 0 && lane.has(p)) x[b][p] = R::read(args, row, column[b], lane.feature(p));
#pragma unroll
    for (int b = 0; b < kBatch; ++b)
#pragma unroll
      for (int p = 0; p < kWords; ++p)
        if (column[b] >= 0 && lane.has(p)) R::add(values, p, x[b][p], value[b], column[b], args.largest);
  }
}

}  // namespace multipath_gcn::gpu
