// The end of a row: y[i, f] = drop(relu(v + bias[f])), rounded and stored, and a bit for every value that has a slope.
//
//   drop(v) = scale v where u[i, f] >= threshold, else 0
//
// u[i, f] is word (f / 16) mod 4 of Philox with the seed as its key, at (16 (f / 64) + f mod 16, i mod 2^32, i / 2^32,
// 0). A thread draws four of them, 16 features apart, for whoever has the values; flags go through shared memory, a
// byte for every value of the tile, and leave it as bits: kept [rows, ceil(F / 8)], bit f mod 8 of byte f / 8.
#pragma once
#include "lanes.cuh"
#include "philox.cuh"

namespace multipath_gcn::gpu {

template <typename T>
struct Activation {
  const T* bias;        // [F] or null
  bool relu;
  const int64_t* seed;  // null where nothing is dropped
  uint32_t threshold;
  Accumulate<T> scale;
  uint8_t* kept;        // null where every value has a slope
};

// What a warp shares: the row of every item of its tile, -1 where there is none, and the flags of its values.
struct TileFlags {
  int64_t* row;
  uint8_t* flag;
  int stride;

  __device__ __forceinline__ explicit TileFlags(const RowTiles& tiles)
      : row(reinterpret_cast<int64_t*>(shared_memory() + threadIdx.x / kLanes * flag_bytes(tiles))),
        flag(reinterpret_cast<uint8_t*>(row + tiles.items)),
        stride(flag_stride(tiles)) {}
};

template <int kWord, typename T>
__device__ __forceinline__ void draw(const Activation<T>& activation, const RowTiles& tiles, const Lane<kWord>& lane,
                                     const TileFlags& flags) {
  const uint64_t key = static_cast<uint64_t>(*activation.seed);
  const int64_t first_block = lane.first / 64;
  const int counters = static_cast<int>((ceil_div(lane.end, 64) - first_block) * 16);
  for (int n = threadIdx.x % kLanes; n < tiles.items * counters; n += kLanes) {
    const int item = n / counters, counter = n % counters;
    const int64_t row = flags.row[item], f = (first_block + counter / 16) * 64 + counter % 16;
    if (row < 0) continue;
    const Words u = philox({static_cast<uint32_t>(first_block * 16 + counter), static_cast<uint32_t>(row),
                            static_cast<uint32_t>(row >> 32), 0}, key);
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const int64_t feature = f + w * 16;
      if (lane.first <= feature && feature < lane.end)
        flags.flag[item * flags.stride + (feature - lane.first)] = u.of[w] >= activation.threshold;
    }
  }
}

template <int kWord>
__device__ __forceinline__ void pack(uint8_t* kept, const RowTiles& tiles, const Lane<kWord>& lane,
                                     const TileFlags& flags) {
  const int bytes = static_cast<int>(ceil_div(lane.end - lane.first, 8));
  for (int n = threadIdx.x % kLanes; n < tiles.items * bytes; n += kLanes) {
    const int item = n / bytes, byte = n % bytes;
    if (flags.row[item] < 0) continue;
    const int count = static_cast<int>(at_most(lane.end - lane.first - byte * 8, 8));
    const uint8_t* flag = flags.flag + item * flags.stride + byte * 8;
    unsigned bits = 0;
    for (int b = 0; b < count; ++b) bits |= unsigned{flag[b]} << b;
    kept[flags.row[item] * ceil_div(tiles.features, 8) + lane.first / 8 + byte] = static_cast<uint8_t>(bits);
  }
}

// Called by a whole warp, with the row of each thread's item, or -1.
template <int kWord, typename T>
__device__ __forceinline__ void store_row(const Activation<T>& activation, const RowTiles& tiles,
                                          const Lane<kWord>& lane, int64_t row,
                                          const Values<Accumulate<T>, kWord>& values, T* y) {
  using S = Accumulate<T>;
  const TileFlags flags(tiles);
  if (activation.kept) {
    __syncwarp();  // the tile before has been packed
    if (lane.busy && lane.lane == 0) flags.row[lane.item] = row;
    __syncwarp();
    if (activation.seed) {
      draw(activation, tiles, lane, flags);
      __syncwarp();
    }
  }
#pragma unroll
  for (int p = 0; p < lane.kWords; ++p) {
    if (row < 0 || !lane.has(p)) continue;
    const int64_t f = lane.feature(p);
    uint8_t* flag = flags.flag + lane.item * flags.stride + (f - lane.first);
    Vector<T, kWord> out;
#pragma unroll
    for (int k = 0; k < kWord; ++k) {
      S v = values.of[p][k];
      if (activation.bias) v += widen(activation.bias[f + k]);
      bool slope = true;
      if (activation.relu) {
        slope = v > 0;
        if (v <= 0) v = 0;  // a NaN stays one
      }
      if (activation.seed) {
        v = flag[k] ? v * activation.scale : S(0);
        slope = slope && flag[k];
      }
      if (activation.kept) flag[k] = slope;
      out.value[k] = narrow<T>(v);
    }
    store(y + row * tiles.features + f, out);
  }
  if (activation.kept) {
    __syncwarp();
    pack(activation.kept, tiles, lane, flags);
  }
}

}  // namespace multipath_gcn::gpu
