// Forward transform and input gradient on the tensor cores: bfloat16, float16, and float32 as TF32.
//
//   out[p, r] = act(bias[r] + sum_t in[p, t] packed[r, t])        packed and its flags: weight_order.cuh
//
// A block owns a tile of points x results and takes the terms in chunks of 64 bytes, three under way, by 16-byte copies:
// in as [point][term] (rows) or [term][point] (planes), packed as [result][term]. Products are skipped by blocks of
// eight results x one step (32 bytes) of terms, where the flags say that no window reaches.
//
// A product also multiplies by the zeros outside windows. That is exact but for infinities and NaNs, which must not leave
// their windows: in blocks that some window covers in part they are taken out of the operand, and a tile where that
// happened goes through its terms once more and adds what was taken out, pair by pair.
#pragma once
#include "fragments.cuh"
#include "tile_copy.cuh"

namespace multipath_gcn::gpu {

template <typename T>
struct MmaArgs {
  BandArgs<T> band;
  const T* packed;
  const uint2* flags;
  int chunks;
  int in_bytes, out_bytes;  // per copy
};

template <typename T, typename Tile>
struct MmaShared {
  T* stages;     // [kStages]: in, then packed
  Name* term;    // [kSlots][kChunk]
  Name* result;  // [kResults]

  __device__ explicit MmaShared(unsigned char* bytes)
      : stages(reinterpret_cast<T*>(bytes)),
        term(reinterpret_cast<Name*>(stages + Tile::kStages * Tile::kStageElements)),
        result(term + Tile::kSlots * Tile::kChunk) {}
};

// What a thread keeps of the tile it works on.
struct MmaPlace {
  int64_t first_point;
  int first_result;
  const uint2* flags;
  int64_t plane_offset;  // of the point at which its copies of planes begin
  bool plane_valid;

  __device__ __forceinline__ int next_chunk(int chunk, int chunks) const {
    while (chunk < chunks && flags[chunk].x == 0) ++chunk;
    return chunk;
  }
};

template <bool kRows, typename Tile, typename T>
__device__ __forceinline__ void copy_chunk(const MmaArgs<T>& args, const MmaShared<T, Tile>& shared, const MmaPlace& place,
                                           int stage, int slot, int chunk) {
  const BandArgs<T>& band = args.band;
  T* in = shared.stages + stage * Tile::kStageElements;
  if constexpr (kRows) {
    const int64_t first_term = int64_t{chunk} * Tile::kChunk;
    copy_lines<Tile::kPoints, Tile::kChunk>(args.in_bytes, in, Tile::kTermStride, [&](int p, int t) {
      const int64_t point = place.first_point + p, term = first_term + t;
      return Source<T>{band.in.data + point * band.in.pixel_stride + term, point < band.points && term < band.terms()};
    });
  } else {
    const Name* names = shared.term + slot * Tile::kChunk;
    copy_lines<Tile::kChunk, Tile::kPoints>(args.in_bytes, in, Tile::kPointStride, [&](int t, int) {
      const int64_t id = names[t].id;
      return Source<T>{band.in.data + place.plane_offset + id * band.in.channel_stride, place.plane_valid && id >= 0};
    });
  }
  const int64_t line = int64_t{args.chunks} * Tile::kChunk;
  const T* packed = args.packed + place.first_result * line + int64_t{chunk} * Tile::kChunk;
  copy_lines_by<16, Tile::kResults, Tile::kChunk>(in + Tile::kInElements, Tile::kTermStride, [&](int r, int t) {
    return Source<T>{packed + r * line + t, true};
  });
}

template <bool kRows, typename Tile, typename T>
__device__ __forceinline__ const T& in_element(const T* in, int point, int term) {
  return in[kRows ? point * Tile::kTermStride + term : term * Tile::kPointStride + point];
}

template <bool kRows, typename Tile, typename T, int kDown, int kAcross>
__device__ __forceinline__ void add_chunk(const MmaShared<T, Tile>& shared, int stage, uint2 flags,
                                          float (&sum)[kDown][kAcross][4], uint32_t& taken_out) {
  const int warp = threadIdx.x / kLanes;
  const int first_point = warp / Tile::kWarpsAlongResults * Tile::kWarpPoints;
  const int first_result = warp % Tile::kWarpsAlongResults * Tile::kWarpResults;
  const T* in = shared.stages + stage * Tile::kStageElements;
  const T* packed = in + Tile::kInElements + first_result * Tile::kTermStride;
  constexpr unsigned kMine = (1u << kAcross) - 1;
#pragma unroll
  for (int step = 0; step < Tile::kSteps; ++step) {
    const unsigned some = flags.x >> (step * 16 + first_result / 8) & kMine;
    const unsigned all = flags.y >> (step * 16 + first_result / 8) & kMine;
    if (some == 0) continue;
    uint32_t b[kAcross / 2][2][2];
#pragma unroll
    for (int j = 0; j < kAcross / 2; ++j)
      load_b<false>(b[j], packed + j * 16 * Tile::kTermStride + step * Tile::kStep, Tile::kTermStride);
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      uint32_t a[4];
      load_a<!kRows>(a, &in_element<kRows, Tile>(in, first_point + i * 16, step * Tile::kStep),
                     kRows ? Tile::kTermStride : Tile::kPointStride);
      if (some != all) {
#pragma unroll
        for (int w = 0; w < 4; ++w) {
          const uint32_t bad = not_finite<T>(a[w]);
          a[w] &= ~bad;
          taken_out |= bad;
        }
      }
#pragma unroll
      for (int j = 0; j < kAcross; ++j)
        if (some >> j & 1) multiply_add<T>(sum[i][j], a, b[j / 2][j % 2]);
    }
  }
}

// Adds what add_chunk took out of the operand.
template <bool kRows, typename Tile, typename T, int kDown, int kAcross>
__device__ __forceinline__ void add_not_finite(const MmaArgs<T>& args, const MmaShared<T, Tile>& shared, uint2 flags,
                                               float (&sum)[kDown][kAcross][4]) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int first_point = warp / Tile::kWarpsAlongResults * Tile::kWarpPoints + lane / 4;
  const int first_result = warp % Tile::kWarpsAlongResults * Tile::kWarpResults + lane % 4 * 2;
  const T *in = shared.stages, *packed = in + Tile::kInElements;
  constexpr unsigned kMine = (1u << kAcross) - 1;
  for (int t = 0; t < Tile::kChunk; ++t) {
    const int bit = t / Tile::kStep * 16 + first_result / 8;
    if ((flags.x >> bit & kMine) == (flags.y >> bit & kMine)) continue;
#pragma unroll
    for (int i = 0; i < 2 * kDown; ++i) {
      const T x = in_element<kRows, Tile>(in, first_point + i * 8, t);
      if (!is_not_finite(x)) continue;
#pragma unroll
      for (int j = 0; j < 2 * kAcross; ++j) {
        const int r = first_result + j / 2 * 8 + j % 2;
        if (pair_inside(args.band, shared.result[r], shared.term[t]))
          sum[i / 2][j / 2][i % 2 * 2 + j % 2] += widen(x) * widen(packed[r * Tile::kTermStride + t]);
      }
    }
  }
}

// Through shared memory, so that the stores are wide: [point][result in its place] for rows, [result][point] for planes.
template <bool kRows, typename Tile, typename T, int kDown, int kAcross>
__device__ __forceinline__ void store_tile(const MmaArgs<T>& args, const MmaShared<T, Tile>& shared, const MmaPlace& place,
                                           const float (&sum)[kDown][kAcross][4]) {
  const BandArgs<T>& band = args.band;
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int first_point = warp / Tile::kWarpsAlongResults * Tile::kWarpPoints;
  const int first_result = warp % Tile::kWarpsAlongResults * Tile::kWarpResults;
  __syncthreads();  // the last chunk has been read
#pragma unroll
  for (int j = 0; j < 2 * kAcross; ++j) {
    const int r = first_result + j / 2 * 8 + lane % 4 * 2 + j % 2, id = shared.result[r].id;
    const float bias = band.bias != nullptr && id >= 0 ? widen(band.bias[id]) : 0.0f;
    const int line = kRows ? id - place.first_result : r;
    if (line < 0 || line >= Tile::kResults) continue;
#pragma unroll
    for (int i = 0; i < 2 * kDown; ++i) {
      float value = sum[i / 2][j / 2][i % 2 * 2 + j % 2] + bias;
      if (band.relu && value < 0.0f) value = 0.0f;
      const int p = first_point + lane / 4 + i * 8;
      shared.stages[kRows ? p * Tile::kOutRowStride + line : line * Tile::kOutPlaneStride + p] = narrow<T>(value);
    }
  }
  __syncthreads();
  if constexpr (kRows) {
    store_lines<Tile::kPoints, Tile::kResults>(args.out_bytes, shared.stages, Tile::kOutRowStride, [&](int p, int r) -> T* {
      const int64_t point = place.first_point + p, channel = int64_t{place.first_result} + r;
      if (point >= band.points || channel >= band.results()) return nullptr;
      return band.out.data + point * band.out.pixel_stride + channel;
    });
  } else {
    const int64_t point = place.first_point + copy_position<Tile::kPoints, T>(args.out_bytes);
    const int64_t offset = point_offset(band.out, point);
    store_lines<Tile::kResults, Tile::kPoints>(args.out_bytes, shared.stages, Tile::kOutPlaneStride, [&](int r, int) -> T* {
      const int64_t id = shared.result[r].id;
      return point < band.points && id >= 0 ? band.out.data + offset + id * band.out.channel_stride : nullptr;
    });
  }
}

template <typename T, bool kRows, TileSize kSize>
__global__ void __launch_bounds__(kThreads, 2) band_mma_kernel(const MmaArgs<T> args) {
  using Tile = MmaTile<sizeof(T), kRows, kSize>;
  const MmaShared<T, Tile> shared(shared_memory());
  const BandArgs<T>& band = args.band;
  const int thread = threadIdx.x;
  MmaPlace place;
  for (int64_t tile = blockIdx.x; tile < band.tiles; tile += gridDim.x) {
    const int result_tile = static_cast<int>(tile % band.result_tiles);
    place.first_point = tile / band.result_tiles * Tile::kPoints;
    place.first_result = result_tile * Tile::kResults;
    place.flags = args.flags + int64_t{result_tile} * args.chunks;
    const int64_t point = place.first_point + copy_position<Tile::kPoints, T>(args.in_bytes);
    place.plane_valid = point < band.points;
    place.plane_offset = kRows ? 0 : point_offset(band.in, point);

    // `naming` runs one chunk ahead of `copying`, which runs kStages - 1 ahead of `chunk`, the one in work.
    int chunk = place.next_chunk(0, args.chunks), copying = chunk, naming = chunk;
    __syncthreads();  // the tile before has been stored
    if (thread < Tile::kResults) shared.result[thread] = result_name(band, int64_t{place.first_result} + thread);
#pragma unroll
    for (int s = 0; s < Tile::kStages; ++s) {
      if (thread < Tile::kChunk) shared.term[s * Tile::kChunk + thread] = term_name(band, int64_t{naming} * Tile::kChunk + thread);
      naming = place.next_chunk(naming + 1, args.chunks);
    }
    __syncthreads();
#pragma unroll
    for (int s = 0; s < Tile::kStages - 1; ++s) {
      if (copying < args.chunks) copy_chunk<kRows, Tile>(args, shared, place, s, s, copying);
      copy_commit();
      copying = place.next_chunk(copying + 1, args.chunks);
    }

    float sum[Tile::kWarpPoints / 16][Tile::kWarpResults / 8][4] = {};
    uint32_t taken_out = 0;
    int stage = 0, slot = 0;
    while (chunk < args.chunks) {
      copy_wait<Tile::kStages - 2>();
      __syncthreads();
      if (copying < args.chunks)
        copy_chunk<kRows, Tile>(args, shared, place, (stage + 3) % Tile::kStages, (slot + 3) % Tile::kSlots, copying);
      copy_commit();
      Name name{-1, 0};
      if (thread < Tile::kChunk) name = term_name(band, int64_t{naming} * Tile::kChunk + thread);
      add_chunk<kRows, Tile>(shared, stage, place.flags[chunk], sum, taken_out);
      if (thread < Tile::kChunk) shared.term[(slot + 4) % Tile::kSlots * Tile::kChunk + thread] = name;
      chunk = place.next_chunk(chunk + 1, args.chunks);
      copying = place.next_chunk(copying + 1, args.chunks);
      naming = place.next_chunk(naming + 1, args.chunks);
      stage = (stage + 1) % Tile::kStages, slot = (slot + 1) % Tile::kSlots;
    }
    copy_wait<0>();
    if (__syncthreads_or(taken_out != 0)) {
      for (chunk = place.next_chunk(0, args.chunks); chunk < args.chunks; chunk = place.next_chunk(chunk + 1, args.chunks)) {
        __syncthreads();
        if (thread < Tile::kChunk) shared.term[thread] = term_name(band, int64_t{chunk} * Tile::kChunk + thread);
        __syncthreads();
        copy_chunk<kRows, Tile>(args, shared, place, 0, 0, chunk);
        copy_commit();
        copy_wait<0>();
        __syncthreads();
        add_not_finite<kRows, Tile>(args, shared, place.flags[chunk], sum);
      }
    }
    store_tile<kRows, Tile>(args, shared, place, sum);
  }
}

}  // namespace multipath_gcn::gpu
