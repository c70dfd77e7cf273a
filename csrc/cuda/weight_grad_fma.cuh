// Weight gradient on the ordinary arithmetic units: every type, every width (formula in weight_grad.cuh).
//
// A block owns 64 filters x 64 channels for one part of the points, a warp 32 x 16 of them, a lane 4 x 4. Points come in
// chunks of 32 through shared memory, grad [point][filter] and x [point][channel]; a warp whose pairs are all outside
// their windows only copies.
#pragma once
#include "weight_grad.cuh"

namespace multipath_gcn::gpu {

template <typename S, typename T>
__device__ __forceinline__ void copy_value(S* to, const T* from, bool valid) {
  if constexpr (sizeof(S) == sizeof(T)) {
    copy_async<sizeof(T)>(to, from, valid);
  } else {
    *to = valid ? widen(*from) : S(0);
  }
}

// to[point][entry] for 32 points x 64 entries; channel_of(entry) is a channel of the view or -1.
template <typename Tile, typename S, typename T, typename F>
__device__ __forceinline__ void copy_points(const View<const T>& view, const Walk& walk, bool rows, int64_t first,
                                            int64_t end, S* to, const F& channel_of) {
  const int thread = thread_anew(), lane = thread % kLanes, warp = thread / kLanes;
  constexpr int kCopies = Tile::kChunk * 64 / kThreads;
  if (rows) {
    const int64_t channel = channel_of(thread % 64);
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int p = thread / 64 + i * (kThreads / 64);
      copy_value(to + p * Tile::kStride + thread % 64, view.data + (first + p) * view.pixel_stride + channel,
                 channel >= 0 && first + p < end);
    }
  } else {  // eight points of four channels per warp: whole sectors, and 32 banks
    const int p = warp % 4 * 8 + lane % 8;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int entry = i * 8 + warp / 4 * 4 + lane / 8;
      const int64_t channel = channel_of(entry);
      copy_value(to + p * Tile::kStride + entry, view.data + walk.offset + channel * view.channel_stride,
                 channel >= 0 && first + p < end);
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) weight_grad_fma_kernel(const WeightGradArgs<T> args) {
  using S = Accumulate<T>;
  using Tile = FmaGradTile<sizeof(S)>;
  struct alignas(16) Vector {
    S value[16 / sizeof(S)];
  };
  constexpr int kVector = 16 / sizeof(S);
  S* stages = reinterpret_cast<S*>(shared_memory());
  Name* filter = reinterpret_cast<Name*>(stages + Tile::kStages * Tile::kStageElements);
  const int thread = threadIdx.x, lane = thread % kLanes, warp = thread / kLanes;
  const int my_filter = warp / 4 * 32 + lane / 4 * 4, my_channel = warp % 4 * 16 + lane % 4 * 4;
  for (int64_t tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
    const GradPlace place = grad_place(args, tile, Tile::kFilters, Tile::kChannels);
    __syncthreads();  // the tile before has been stored
    bool touched = false;
    if (thread < Tile::kFilters) {
      const Name name = filter_name(args, place.first_filter + thread, true);
      filter[thread] = name;
      touched = name.id >= 0 && args.windows.touches(name.start, place.first_channel, place.end_channel);
    }
    if (!__syncthreads_or(touched)) continue;
    const Name mine = filter[warp / 4 * 32 + lane];
    const int begin = place.first_channel + warp % 4 * 16, end = min(begin + 16, place.end_channel);
    const bool busy = __any_sync(0xffffffffu, mine.id >= 0 && args.windows.touches(mine.start, begin, end));

    const int64_t first_point = place.begin + warp % 4 * 8 + lane % 8;
    Walk grad_walk(args.grad, first_point), x_walk(args.x, first_point);
    const auto copy = [&](int stage, int64_t first) {
      S* to = stages + stage * Tile::kStageElements;
      copy_points<Tile>(args.grad, grad_walk, args.rows, first, place.end, to, [&](int n) { return filter[n].id; });
      copy_points<Tile>(args.x, x_walk, args.rows, first, place.end, to + Tile::kChunk * Tile::kStride, [&](int n) {
        return place.first_channel + n < place.end_channel ? place.first_channel + n : -1;
      });
      grad_walk.advance(args.grad, args);
      x_walk.advance(args.x, args);
    };
    int64_t copying = place.begin;
#pragma unroll
    for (int s = 0; s < Tile::kStages - 1; ++s, copying += Tile::kChunk) {
      if (copying < place.end) copy(s, copying);
      copy_commit();
    }
    S sum[4][4] = {};
    int stage = 0;
    for (int64_t p = place.begin; p < place.end; p += Tile::kChunk) {
      copy_wait<Tile::kStages - 2>();
      __syncthreads();
      if (copying < place.end) copy((stage + Tile::kStages - 1) % Tile::kStages, copying);
      copy_commit();
      copying += Tile::kChunk;
      if (busy) {
        const S* g = stages + stage * Tile::kStageElements + my_filter;
        const S* x = stages + stage * Tile::kStageElements + Tile::kChunk * Tile::kStride + my_channel;
#pragma unroll 4
        for (int q = 0; q < Tile::kChunk; ++q, g += Tile::kStride, x += Tile::kStride) {
          Vector gs[4 / kVector], xs[4 / kVector];
#pragma unroll
          for (int v = 0; v < 4 / kVector; ++v) {
            gs[v] = reinterpret_cast<const Vector*>(g)[v];
            xs[v] = reinterpret_cast<const Vector*>(x)[v];
          }
#pragma unroll
          for (int i = 0; i < 16; ++i)
            sum[i / 4][i % 4] += gs[i / 4 / kVector].value[i / 4 % kVector] * xs[i % 4 / kVector].value[i % 4 % kVector];
        }
      }
      stage = (stage + 1) % Tile::kStages;
    }
    copy_wait<0>();
#pragma unroll
    for (int i = 0; i < 16; ++i)
      store_partial(args, place, filter[my_filter + i / 4], place.first_channel + my_channel + i % 4, sum[i / 4][i % 4]);
  }
}

}  // namespace multipath_gcn::gpu
