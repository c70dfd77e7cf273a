// Weight gradient on the tensor cores: bfloat16, float16, and float32 as TF32 (formula in weight_grad.cuh).
//
// A block owns kSide filters x kSide channels for one part of the points, which come in chunks of 64 bytes, three under
// way: grad and x as [point][channel] (both rows) or [channel][point] (both planes). Products of 16 filters x 8 channels
// that lie outside every window are skipped. A product of one filter and one channel holds no other, so nothing leaks.
#pragma once
#include "fragments.cuh"
#include "tile_copy.cuh"
#include "weight_grad.cuh"

namespace multipath_gcn::gpu {

// One chunk of one operand; id_of(entry) is a channel of the view or -1. Rows are copied as they lie, from `first_id` on.
template <bool kRows, typename Tile, typename T, typename F>
__device__ __forceinline__ void copy_operand(const View<const T>& view, const Walk& walk, int bytes, int64_t first,
                                             int64_t end, int64_t first_id, T* to, const F& id_of) {
  if constexpr (kRows) {
    copy_lines<Tile::kChunk, Tile::kFilters>(bytes, to, Tile::kStride, [&](int p, int n) {
      const int64_t point = first + p, channel = first_id + n;
      return Source<T>{view.data + point * view.pixel_stride + channel, point < end && channel < view.channels};
    });
  } else {
    copy_lines<Tile::kFilters, Tile::kChunk>(bytes, to, Tile::kStride, [&](int n, int p) {
      const int64_t id = id_of(n);
      return Source<T>{view.data + walk.offset + id * view.channel_stride, id >= 0 && first + p < end};
    });
  }
}

template <typename T, bool kRows, int kSide>
__global__ void __launch_bounds__(kThreads, 2) weight_grad_mma_kernel(const WeightGradArgs<T> args) {
  using Tile = MmaGradTile<sizeof(T), kRows, kSide>;
  constexpr int kDown = Tile::kWarpFilters / 16, kAcross = Tile::kWarpChannels / 8;
  T* stages = reinterpret_cast<T*>(shared_memory());
  Name* filter = reinterpret_cast<Name*>(stages + Tile::kStages * Tile::kStageElements);
  const int thread = threadIdx.x, lane = thread % kLanes, warp = thread / kLanes;
  const int my_filter = warp / Tile::kWarpsAlongChannels * Tile::kWarpFilters;
  const int my_channel = warp % Tile::kWarpsAlongChannels * Tile::kWarpChannels;
  for (int64_t tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
    const GradPlace place = grad_place(args, tile, Tile::kFilters, Tile::kChannels);
    __syncthreads();  // the tile before has been stored
    bool touched = false;
    if (thread < Tile::kFilters) {
      // Rows lie in shared memory as in global memory, filter after filter; planes in the windows' order.
      const Name name = filter_name(args, place.first_filter + thread, !kRows);
      filter[thread] = name;
      touched = name.id >= 0 && args.windows.touches(name.start, place.first_channel, place.end_channel);
    }
    if (!__syncthreads_or(touched)) continue;
    unsigned busy[kAcross];  // bit l: filter l of the warp reads some of these eight channels
    const Name mine = lane < Tile::kWarpFilters ? filter[my_filter + lane] : Name{-1, 0};
#pragma unroll
    for (int j = 0; j < kAcross; ++j) {
      const int begin = place.first_channel + my_channel + j * 8, end = min(begin + 8, place.end_channel);
      busy[j] = __ballot_sync(0xffffffffu, mine.id >= 0 && args.windows.touches(mine.start, begin, end));
    }

    Walk grad_walk(args.grad, place.begin + copy_position<Tile::kChunk, T>(args.grad_bytes));
    Walk x_walk(args.x, place.begin + copy_position<Tile::kChunk, T>(args.x_bytes));
    const auto copy = [&](int stage, int64_t first) {
      T* to = stages + stage * Tile::kStageElements;
      copy_operand<kRows, Tile>(args.grad, grad_walk, args.grad_bytes, first, place.end, place.first_filter, to,
                                [&](int n) { return filter[n].id; });
      copy_operand<kRows, Tile>(args.x, x_walk, args.x_bytes, first, place.end, place.first_channel,
                                to + Tile::kOperandElements, [&](int n) {
                                  return place.first_channel + n < place.end_channel ? place.first_channel + n : -1;
                                });
      if (!kRows) {
        grad_walk.advance(args.grad, args);
        x_walk.advance(args.x, args);
      }
    };
    int64_t copying = place.begin;
#pragma unroll
    for (int s = 0; s < Tile::kStages - 1; ++s, copying += Tile::kChunk) {
      if (copying < place.end) copy(s, copying);
      copy_commit();
    }
    float sum[kDown][kAcross][4] = {};
    int stage = 0;
    for (int64_t p = place.begin; p < place.end; p += Tile::kChunk) {
      copy_wait<Tile::kStages - 2>();
      __syncthreads();
      if (copying < place.end) copy((stage + Tile::kStages - 1) % Tile::kStages, copying);
      copy_commit();
      copying += Tile::kChunk;
      const T* grad = stages + stage * Tile::kStageElements;
      const T* x = grad + Tile::kOperandElements;
#pragma unroll
      for (int step = 0; step < Tile::kSteps; ++step) {
        uint32_t a[kDown][4];
#pragma unroll
        for (int i = 0; i < kDown; ++i) {
          const int f = my_filter + i * 16, k = step * Tile::kStep;
          load_a<kRows>(a[i], grad + (kRows ? k * Tile::kStride + f : f * Tile::kStride + k), Tile::kStride);
        }
#pragma unroll
        for (int j = 0; j < kAcross; j += 2) {
          if ((busy[j] | busy[j + 1]) == 0) continue;
          const int c = my_channel + j * 8, k = step * Tile::kStep;
          uint32_t b[2][2];
          load_b<kRows>(b, x + (kRows ? k * Tile::kStride + c : c * Tile::kStride + k), Tile::kStride);
#pragma unroll
          for (int i = 0; i < 2 * kDown; ++i)
            if (busy[j + i % 2] >> (i / 2 * 16) & 0xffffu) multiply_add<T>(sum[i / 2][j + i % 2], a[i / 2], b[i % 2]);
        }
      }
      stage = (stage + 1) % Tile::kStages;
    }
    copy_wait<0>();
#pragma unroll
    for (int e = 0; e < kDown * kAcross * 4; ++e) {
      const int i = e / (kAcross * 4), j = e / 4 % kAcross, q = e % 4;
      store_partial(args, place, filter[my_filter + i * 16 + lane / 4 + q / 2 * 8],
                    place.first_channel + my_channel + j * 8 + lane % 4 * 2 + q % 2, sum[i][j][q]);
    }
  }
}

}  // namespace multipath_gcn::gpu
