// Gradient of a grouped convolution by its weight:
//
//   dweight[g, k, c, r, s] = sum_{n, i, j} grad[n, g, k, i, j] x[n, g, c, i stride + r dilation - padding, ...]
//
// A thread sums for kFilters filters k, one channel c and kSide x kSide taps, over every lanes-th position of a slice, kRows
// outputs at a time. Its block adds its lanes in order, and add_slabs_kernel the slices: no atomics, the same bits every time.
#pragma once
#include "conv_images.cuh"

namespace multipath_gcn::gpu {

template <typename T>
struct ConvGradArgs {
  ConvShape shape;
  ConvGradTiles tiles;
  Strided<const T> grad, x;
  Accumulate<T>* partial;  // [slices, groups filters, channels, kernel]
};

// Channels run first, through all groups; then blocks of filters, then blocks of taps.
struct ConvGradUnit {
  int64_t group, channel, filter, tap[2];
  bool busy;

  __device__ __forceinline__ ConvGradUnit(const ConvShape& shape, const ConvGradTiles& tiles, int64_t unit) {
    const Split by_channel = split(unit, shape.channels), by_group = split(by_channel.quotient, shape.groups);
    const Split by_filters = split(by_group.quotient, tiles.filter_blocks);
    const Split by_taps = split(by_filters.quotient, tiles.tap_blocks[1]);
    channel = by_channel.remainder, group = by_group.remainder, filter = by_filters.remainder * tiles.filter_block;
    tap[0] = by_taps.quotient * tiles.side, tap[1] = by_taps.remainder * tiles.side, busy = unit < tiles.units;
  }
};

// Sums over the lanes of a block, from lane to lane, one filter at a time; what lies beyond the weight is dropped.
template <int kFilters, int kSide, typename T, typename A>
__device__ __forceinline__ void add_lanes(const ConvGradArgs<T>& args, const A (&sums)[kFilters][kSide * kSide],
                                          int64_t unit_tile, int64_t slice) {
  constexpr int kTaps = kSide * kSide;
  const ConvShape& shape = args.shape;
  const ConvBlock& block = args.tiles.block;
  A* const all = reinterpret_cast<A*>(shared_memory());  // [taps, threads]
#pragma unroll
  for (int k = 0; k < kFilters; ++k) {
    __syncthreads();  // the sums before have been read
#pragma unroll
    for (int t = 0; t < kTaps; ++t) all[t * kThreads + threadIdx.x] = sums[k][t];
    __syncthreads();
    for (int e = threadIdx.x; e < kTaps * block.units; e += kThreads) {
      const int u = e % block.units, t = e / block.units;
      const ConvGradUnit unit(shape, args.tiles, unit_tile * block.units + u);
      const int64_t filter = unit.filter + k, r = unit.tap[0] + t / kSide, s = unit.tap[1] + t % kSide;
      if (!unit.busy || filter >= shape.filters || r >= shape.kernel[0] || s >= shape.kernel[1]) continue;
      const int apart = block.units_first ? block.units : 1;
      const A* from = all + t * kThreads + (block.units_first ? u : u * block.lanes);
      A sum = 0;
      for (int lane = 0; lane < block.lanes; ++lane) sum += from[lane * apart];
      const int64_t o = slice * shape.groups * shape.filters + unit.group * shape.filters + filter;
      args.partial[((o * shape.channels + unit.channel) * shape.kernel[0] + r) * shape.kernel[1] + s] = sum;
    }
  }
}

template <int kFilters, int kSide, int kRows, typename T>
__global__ void __launch_bounds__(kThreads, sizeof(Accumulate<T>) == 4 ? 2 : 1)
    conv_weight_grad_kernel(const ConvGradArgs<T> args) {
  using A = Accumulate<T>;
  constexpr int kWindow = kRows + kSide - 1;  // rows of x; one of kRows and kSide is 1, or they are neighbours
  const ConvShape& shape = args.shape;
  const ConvGradTiles& tiles = args.tiles;
  const ConvThread thread(tiles.block);
  const int64_t strips = ceil_div(shape.out[0], kRows);
  const int apart = as_int(kRows == 1 ? shape.dilation[0] : shape.stride[0]);
  const int in[2] = {as_int(shape.in[0]), as_int(shape.in[1])}, out = as_int(shape.out[0]);
  for (int64_t i = blockIdx.x; i < tiles.unit_tiles * tiles.slices; i += gridDim.x) {
    const Split item = split(i, tiles.unit_tiles);  // what reads the same positions runs side by side
    const ConvGradUnit unit(shape, tiles, item.remainder * tiles.block.units + thread.unit);
    const int64_t past = at_most((item.quotient + 1) * tiles.positions_per_slice, tiles.positions);
    const T* const grad = args.grad.data + (unit.group * shape.filters + unit.filter) * args.grad.channel;
    const T* const x = args.x.data + (unit.group * shape.channels + unit.channel) * args.x.channel;
    A sums[kFilters][kSide * kSide] = {};
    for (int64_t p = item.quotient * tiles.positions_per_slice + thread.lane; unit.busy && p < past; p += tiles.block.lanes) {
      const ConvPosition at(p, strips, shape.out[1], kRows);
      const int row = as_int(at.row * shape.stride[0] + unit.tap[0] * shape.dilation[0] - shape.padding[0]);
      const int column = as_int(at.column * shape.stride[1] + unit.tap[1] * shape.dilation[1] - shape.padding[1]);
      A values[kSide][kWindow][1], grads[kFilters][kRows][1];
#pragma unroll
      for (int k = 0; k < kFilters; ++k)
        load_column<1>(grads[k], grad + at.image * args.grad.batch + k * args.grad.channel + at.column * args.grad.column,
                       unit.filter + k < shape.filters, at.row, 1, out, args.grad.row);
#pragma unroll
      for (int s = 0; s < kSide; ++s) {
        const int j = as_int(column + s * shape.dilation[1]);
        load_column<1>(values[s], x + at.image * args.x.batch + j * args.x.column, within(j, in[1]), row, apart, in[0],
                       args.x.row);
      }
#pragma unroll
      for (int q = 0; q < kRows; ++q) {
        if (at.row + q >= out) break;  // no gradient: not even zero times what lies there
#pragma unroll
        for (int k = 0; k < kFilters; ++k)
#pragma unroll
          for (int t = 0; t < kSide * kSide; ++t) sums[k][t] += grads[k][q][0] * values[t % kSide][q + t / kSide][0];
      }
    }
    add_lanes<kFilters, kSide>(args, sums, item.remainder, item.quotient);
  }
}

}  // namespace multipath_gcn::gpu
