// Grouped convolution and its gradient by x:
//
//   y[n, g, f, first + i step] = relu(bias[g, f] + sum_{c, t} weight(g, f, c, t) x[n, g, c, i read_step + origin + t dilation])
//
// in both directions (conv_shape.h). A thread sums for kFilters filters of a group and kRows outputs, one above the other.
// It reads x straight from memory: what its neighbours have read too is in the first cache. Weights go through shared
// memory, where the threads of a unit read one address, and those of several units neighbouring ones. No atomics: every
// output has one thread.
#pragma once
#include "conv_images.cuh"

namespace multipath_gcn::gpu {

template <typename T>
struct ConvArgs {
  ConvWork work;
  ConvTiles tiles;
  Strided<const T> x;  // [batch, groups channels, ...]
  Strided<T> y;        // [batch, groups filters, ...]
  const T* weight;     // [groups filters, channels, kernel] of the forward, contiguous
  const T* bias;       // [groups filters] or null
  bool relu, whole;    // whole: blocks of filters are so in memory, and aligned
};

// What a block is at: some units, one phase, and a share of its positions. It lies at the beginning of shared memory.
struct ConvItem {
  int64_t unit_tile, share;
  ConvAxis rows, columns;

  template <typename T>
  __device__ __forceinline__ ConvItem(const ConvArgs<T>& args, int64_t item) {
    const Split by_share = split(item, args.tiles.shares), by_tile = split(by_share.quotient, args.tiles.unit_tiles);
    const Split phase = split(by_tile.quotient, args.work.phases(1));
    share = by_share.remainder, unit_tile = by_tile.remainder;
    rows = args.work.axis(0, phase.quotient), columns = args.work.axis(1, phase.remainder);
  }
};

static_assert(sizeof(ConvItem) <= kConvItemBytes);

__device__ __forceinline__ ConvItem& conv_item() { return *reinterpret_cast<ConvItem*>(shared_memory()); }

template <typename A>
__device__ __forceinline__ A* conv_weights() {
  return reinterpret_cast<A*>(shared_memory() + kConvItemBytes);
}

// A unit: a group, and the first of its filters.
struct ConvUnit {
  int64_t group, filter;
  bool busy;

  __device__ __forceinline__ ConvUnit(const ConvTiles& tiles, int64_t unit, int filter_block) {
    const Split by = split(unit, tiles.filter_blocks);
    group = by.quotient, filter = by.remainder * filter_block, busy = unit < tiles.units;
  }
};

// The weights of one filter of what is computed: of channel c and row r, column s of the kernel at of[c apart + r width + s].
template <typename T>
struct ConvFilter {
  const T* of;
  int64_t apart;

  __device__ __forceinline__ ConvFilter(const ConvArgs<T>& args, int64_t group, int64_t filter) {
    const ConvShape& shape = args.work.shape;
    const int64_t plane = shape.kernel[0] * shape.kernel[1], first = group * shape.filters * shape.channels;
    of = args.weight + (args.work.transposed ? first + filter : first + filter * shape.channels) * plane;
    apart = args.work.transposed ? shape.channels * plane : plane;
  }
};

__device__ __forceinline__ int64_t place_in_kernel(const ConvItem& item, int64_t width, int r, int s) {
  return (item.rows.tap_first + int64_t{r} * item.rows.tap_step) * width + item.columns.tap_first +
         int64_t{s} * item.columns.tap_step;
}

// Filters [filter, filter + kFilters) of a group at an offset in y. Those beyond the group are dropped.
template <int kFilters, typename T>
__device__ __forceinline__ void store_filters(const ConvArgs<T>& args, int64_t group, int64_t filter, int64_t offset,
                                              const Accumulate<T> (&sums)[kFilters]) {
  using A = Accumulate<T>;
  const int64_t left = args.work.filters - filter, channel = group * args.work.filters + filter;
  T* const to = args.y.data + offset + channel * args.y.channel;
  if (left <= 0) return;
  Vector<T, kFilters> out;
#pragma unroll
  for (int k = 0; k < kFilters; ++k) {
    A value = sums[k];
    if (args.bias && k < left) value += widen(args.bias[channel + k]);
    out.value[k] = narrow<T>(args.relu && value <= 0 ? A(0) : value);  // a NaN stays one
  }
  if (args.whole) {
    store(to, out);
  } else {
#pragma unroll
    for (int k = 0; k < kFilters; ++k)
      if (k < left) to[k * args.y.channel] = out.value[k];
  }
}

// The weights of steps [begin, end), as [step, tap of it, channel of its vector, unit, filter]. A thread stays with a filter.
template <int kFilters, int kVector, bool kThree, typename T>
__device__ __forceinline__ void stage_weights(const ConvArgs<T>& args, const ConvItem& item, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  A* const to = conv_weights<A>();
  const int slots = args.tiles.block.units * kFilters, slot = static_cast<int>(threadIdx.x) % slots;
  const ConvUnit unit(args.tiles, item.unit_tile * args.tiles.block.units + slot / kFilters, kFilters);
  const int64_t number = unit.filter + slot % kFilters, width = args.work.shape.kernel[1];
  const bool is = unit.busy && number < args.work.filters;
  const ConvFilter<T> filter(args, unit.group, number);
  const int count = static_cast<int>(end - begin) * (kThree ? 9 : 1) * kVector;
  for (int e = static_cast<int>(threadIdx.x) / slots; e < count; e += kThreads / slots) {
    const int term = e / kVector;
    int64_t channel = begin + term / 9;
    int r = term % 9 / 3, s = term % 3;
    if constexpr (!kThree) {
      const Split by = split(begin + term, int64_t{item.rows.taps} * item.columns.taps);
      const Split tap = split(by.remainder, item.columns.taps);
      channel = by.quotient, r = as_int(tap.quotient), s = as_int(tap.remainder);
    }
    const int64_t at = (channel * kVector + e % kVector) * filter.apart + place_in_kernel(item, width, r, s);
    to[e * slots + slot] = is ? widen(filter.of[at]) : A(0);
  }
}

template <int kFilters, int kVector, bool kThree, typename T>
__global__ void __launch_bounds__(kThreads, kFilters <= 2 ? 3 : 2) conv_kernel(const ConvArgs<T> args) {
  using A = Accumulate<T>;
  constexpr int kRows = rows_per_thread(kFilters);
  const ConvWork& work = args.work;
  const ConvTiles& tiles = args.tiles;
  const ConvThread thread(tiles.block);
  const int64_t items = tiles.items(work);
  for (int64_t i = blockIdx.x; i < items; i += gridDim.x) {
    ConvItem& item = conv_item();
    __syncthreads();  // the item before is done
    if (threadIdx.x == 0) item = ConvItem(args, i);
    __syncthreads();
    const ConvAxis &rows = item.rows, &columns = item.columns;
    const ConvUnit unit(tiles, item.unit_tile * tiles.block.units + thread.unit, kFilters);
    const int64_t strips = ceil_div(rows.size, kRows), positions = work.batch * strips * columns.size;
    const int64_t steps = work.channels / kVector * (kThree ? 1 : int64_t{rows.taps} * columns.taps);
    bool staged = false;
    for (int64_t first = item.share * tiles.block.lanes; first < positions; first += tiles.shares * tiles.block.lanes) {
      const ConvPosition at(first + thread.lane, strips, columns.size, kRows);
      const bool busy = unit.busy && first + thread.lane < positions;
      const T* const image = args.x.data + at.image * args.x.batch + unit.group * work.channels * args.x.channel;
      const int row = at.row * rows.read_step + rows.origin, column = at.column * columns.read_step + columns.origin;
      A sums[kRows][kFilters] = {};

      for (int64_t begin = 0; begin < steps; begin += tiles.steps) {
        const int64_t end = at_most(begin + tiles.steps, steps);
        if (!staged || steps > tiles.steps) {
          __syncthreads();  // the weights before have been read
          stage_weights<kFilters, kVector, kThree>(args, item, begin, end);
          __syncthreads();
          staged = true;
        }
        if (!busy) continue;
        const A* weights = conv_weights<const A>() + thread.unit * kFilters;
        const int next = tiles.block.units * kFilters;
        const auto add = [&](const auto& values, int r, const A* from) {
#pragma unroll
          for (int v = 0; v < kVector; ++v) {
            const auto weight = load<kFilters>(from + v * next);
#pragma unroll
            for (int p = 0; p < kRows; ++p)
#pragma unroll
              for (int k = 0; k < kFilters; ++k) sums[p][k] += weight.value[k] * values[p + r][v];
          }
        };
        if constexpr (kThree) {
          for (int64_t step = begin; step < end; ++step, weights += 9 * kVector * next) {
            const T* const channel = image + step * kVector * args.x.channel;
#pragma unroll 1
            for (int s = 0; s < 3; ++s) {
              const int j = column + s * columns.dilation;
              A values[kRows + 2][kVector];
              load_column<kVector>(values, channel + int64_t{j} * args.x.column, within(j, columns.limit), row, 1, rows.limit,
                                   args.x.row);
#pragma unroll
              for (int r = 0; r < 3; ++r)
                add(values, r, weights + (r * 3 + s) * kVector * next);
            }
          }
        } else {
          const int64_t all_taps = int64_t{rows.taps} * columns.taps;
          const Split term = split(begin, all_taps), tap = split(term.remainder, columns.taps);
          const T* channel = image + term.quotient * kVector * args.x.channel;
          int r = as_int(tap.quotient), s = as_int(tap.remainder);
          for (int64_t step = begin; step < end; ++step, weights += kVector * next) {
            const int j = column + s * columns.dilation;
            A values[kRows][kVector];
            load_column<kVector>(values, channel + int64_t{j} * args.x.column, within(j, columns.limit),
                                 row + r * rows.dilation, rows.read_step, rows.limit, args.x.row);
            add(values, 0, weights);
            if (++s < columns.taps) continue;
            s = 0;
            if (++r < rows.taps) continue;
            r = 0, channel += kVector * args.x.channel;
          }
        }
      }
      if (!busy) continue;
      const int64_t out = at.image * args.y.batch + (rows.first + int64_t{at.row} * rows.step) * args.y.row +
                          (columns.first + int64_t{at.column} * columns.step) * args.y.column;
#pragma unroll
      for (int p = 0; p < kRows; ++p) {
        if (at.row + p >= rows.size) break;
        store_filters<kFilters>(args, unit.group, unit.filter, out + p * rows.step * args.y.row, sums[p]);
      }
    }
  }
}

}  // namespace multipath_gcn::gpu
