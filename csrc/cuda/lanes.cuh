// A thread's share of a tile (propagate_shape.h): one item, and of its features the words at
//
//   first + (lane + p lanes) kWord,  p = 0, 1, ...        so that neighbours in a row are neighbours in a warp
//
// kWord divides the features or is 1, and rows begin at multiples of a word: a word is inside a row or not, as a whole.
#pragma once
#include "element.cuh"
#include "propagate_shape.h"

namespace multipath_gcn::gpu {

template <typename T, int kWord>
struct alignas(sizeof(T) * kWord < 16 ? sizeof(T) * kWord : 16) Vector {
  T value[kWord];
};

template <int kWord, typename T>
__device__ __forceinline__ Vector<T, kWord> load(const T* from) {
  return aligned_at<const Vector<T, kWord>>(from);
}

template <int kWord, typename T>
__device__ __forceinline__ void store(T* to, const Vector<T, kWord>& vector) {
  aligned_at<Vector<T, kWord>>(to) = vector;
}

// Values of a thread: kWord of each of its words.
template <typename S, int kWord>
struct Values {
  static constexpr int kWords = words_per_lane(kWord);
  S of[kWords][kWord] = {};
};

template <int kWord>
struct Lane {
  static constexpr int kWords = words_per_lane(kWord);
  int item, lane, lanes;
  int64_t first, end;  // the tile's features
  bool busy;           // the last lanes of a warp may be too many

  __device__ __forceinline__ Lane(const RowTiles& tiles, int64_t chunk)
      : item(static_cast<int>(threadIdx.x) % kLanes / tiles.lanes),
        lane(static_cast<int>(threadIdx.x) % kLanes % tiles.lanes),
        lanes(tiles.lanes),
        first(chunk * tiles.chunk),
        end(at_most(first + tiles.chunk, tiles.features)),
        busy(item < tiles.items) {}

  __device__ __forceinline__ int64_t feature(int p) const { return first + int64_t{lane + p * lanes} * kWord; }
  __device__ __forceinline__ bool has(int p) const { return busy && feature(p) < end; }
};

// Calls body with each of this warp's tiles.
template <typename Body>
__device__ __forceinline__ void for_tiles(int64_t tiles, const Body& body) {
  const int64_t first = int64_t{blockIdx.x} * kWarps + threadIdx.x / kLanes, step = int64_t{gridDim.x} * kWarps;
  for (int64_t tile = first; tile < tiles; tile += step) body(tile);
}

}  // namespace multipath_gcn::gpu
