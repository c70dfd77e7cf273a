// y[i, f] = end of the reduction, over the entries e of row i, of A[e] x[col[e], f]    (reduction.cuh, activation.cuh)
//
// A row belongs to the lanes of one item, which add its entries one after the other. A row of more than
// args.segments.length entries is long, and would keep the others waiting: the entries of the whole matrix are cut into
// segments of that length, and each part of a long row in a segment is summed by an item of its own, to
// partial[segment, slot]. Slot 1 is the row that begins inside the segment, slot 0 the one that was there before: no
// segment holds more long rows than these. A second kernel adds the parts of a long row, in their order, in the name of
// the segment in which it begins.
#pragma once
#include "activation.cuh"
#include "reduction.cuh"

namespace multipath_gcn::gpu {

template <Reduce kReduce, typename T, int kWord, typename Index, typename Values>
__device__ __forceinline__ void store_result(const PropagateArgs<T, Index>& args, const Activation<T>& activation,
                                             const Lane<kWord>& lane, int64_t row, const Values& values) {
  store_row(activation, args.tiles, lane, row, values, args.y);
  if constexpr (kReduce == Reduce::extreme) {
#pragma unroll
    for (int p = 0; p < lane.kWords; ++p) {
      if (row < 0 || !lane.has(p)) continue;
      Vector<int, kWord> source;
#pragma unroll
      for (int k = 0; k < kWord; ++k) source.value[k] = values.column[p][k];
      store(args.source + row * args.tiles.features + lane.feature(p), source);
    }
  }
}

// The part of a long row that item (segment, slot) has, if there is one.
template <Reduce kReduce, int kWord, typename T, typename Index>
__device__ __forceinline__ void reduce_segment(const PropagateArgs<T, Index>& args, const Lane<kWord>& lane,
                                               int64_t item) {
  const auto& matrix = args.matrix;
  const int64_t segment = item / 2, slot = item % 2, features = args.tiles.features;
  const int64_t first = segment * args.segments.length, past = at_most(first + args.segments.length, matrix.entries);
  const int64_t row = matrix.row_of(slot ? past - 1 : first), begin = matrix.begin(row), end = matrix.end(row);
  if (end - begin <= args.segments.length || (slot && begin <= first)) return;
  typename Reduction<T, kWord, kReduce>::Values values;
  reduce<kReduce>(args, lane, row, at_least(begin, first), at_most(end, past), values);
#pragma unroll
  for (int p = 0; p < lane.kWords; ++p) {
    if (!lane.has(p)) continue;
    const int64_t at = item * features + lane.feature(p);
    Vector<Accumulate<T>, kWord> partial;
#pragma unroll
    for (int k = 0; k < kWord; ++k) partial.value[k] = values.of[p][k];
    store(args.partial + at, partial);
    if constexpr (kReduce == Reduce::extreme) {
      Vector<int, kWord> source;
#pragma unroll
      for (int k = 0; k < kWord; ++k) source.value[k] = values.column[p][k];
      store(args.partial_source + at, source);
    }
  }
}

// How many blocks a multiprocessor must be able to hold at once: as many as leave registers for all words under way.
constexpr int blocks_together(Reduce reduce, int word) { return reduce == Reduce::sum && word >= 4 ? 3 : 2; }

// Tiles of segments come first: they take longest.
template <Reduce kReduce, int kWord, typename T, typename Index>
__global__ void __launch_bounds__(kThreads, blocks_together(kReduce, kWord))
    propagate_kernel(const PropagateArgs<T, Index> args, const Activation<T> activation) {
  const auto& matrix = args.matrix;
  const int64_t parts = 2 * args.segments.count, parts_per_chunk = args.tiles.tiles_per_chunk(parts);
  const int64_t part_tiles = parts_per_chunk * args.tiles.chunks;
  const int64_t rows_per_chunk = args.tiles.tiles_per_chunk(matrix.rows);
  for_tiles(part_tiles + rows_per_chunk * args.tiles.chunks, [&](int64_t tile) {
    if (tile < part_tiles) {
      const Lane<kWord> lane(args.tiles, tile / parts_per_chunk);
      const int64_t item = tile % parts_per_chunk * args.tiles.items + lane.item;
      if (lane.busy && item < parts) reduce_segment<kReduce>(args, lane, item);
      return;
    }
    const Lane<kWord> lane(args.tiles, (tile - part_tiles) / rows_per_chunk);
    int64_t row = (tile - part_tiles) % rows_per_chunk * args.tiles.items + lane.item;
    if (!lane.busy || row >= matrix.rows) row = -1;
    const int64_t begin = row < 0 ? 0 : matrix.begin(row), end = row < 0 ? 0 : matrix.end(row);
    if (end - begin > args.segments.length) row = -1;
    typename Reduction<T, kWord, kReduce>::Values values;
    if (row >= 0) reduce<kReduce>(args, lane, row, begin, end, values);
    store_result<kReduce>(args, activation, lane, row, values);
  });
}

template <Reduce kReduce, int kWord, typename T, typename Index>
__global__ void __launch_bounds__(kThreads) propagate_long_rows_kernel(const PropagateArgs<T, Index> args,
                                                                       const Activation<T> activation) {
  using R = Reduction<T, kWord, kReduce>;
  const auto& matrix = args.matrix;
  const int64_t length = args.segments.length, per_chunk = args.tiles.tiles_per_chunk(args.segments.count);
  for_tiles(per_chunk * args.tiles.chunks, [&](int64_t tile) {
    const Lane<kWord> lane(args.tiles, tile / per_chunk);
    const int64_t segment = tile % per_chunk * args.tiles.items + lane.item, first = segment * length;
    int64_t row = -1;
    typename R::Values values;
    if (lane.busy && segment < args.segments.count) {
      const int64_t last = matrix.row_of(at_most(first + length, matrix.entries) - 1);
      const int64_t begin = matrix.begin(last), end = matrix.end(last);
      if (begin >= first && end - begin > length) {
        row = last;
        for (int64_t s = segment; s * length < end; ++s) {
          const int64_t slot = s * length < begin;
#pragma unroll
          for (int p = 0; p < lane.kWords; ++p) {
            const int64_t at = (2 * s + slot) * args.tiles.features + lane.feature(p);
            if (lane.has(p)) R::append(values, p, args.partial + at, args.partial_source + at, args.largest);
          }
        }
      }
    }
    store_result<kReduce>(args, activation, lane, row, values);
  });
}

}  // namespace multipath_gcn::gpu
