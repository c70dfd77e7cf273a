// The arithmetic of a launch: tiles, blocks, shared bytes, splits, and which kernel runs. Plain C++, tested on the CPU.
#pragma once
#include <cstdint>

#include "../kernels/view.h"

#ifdef __CUDACC__
#define MULTIPATH_GCN_BOTH __host__ __device__
#else
#define MULTIPATH_GCN_BOTH
#endif

namespace multipath_gcn::gpu {

constexpr int kThreads = 256, kLanes = 32, kWarps = kThreads / kLanes;
constexpr int64_t kMaxBlocks = 2147483647;     // along x; y and z would end at 65535
constexpr int kMaxSharedBytes = 99 * 1024;     // what a block may have on every device from sm_80 on
constexpr int64_t kMaxPackedBytes = 1 << 30;   // of weights laid out for the tensor cores
constexpr int64_t kMaxPartialBytes = 64 << 20;  // of partial weight gradients

MULTIPATH_GCN_BOTH constexpr int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }
MULTIPATH_GCN_BOTH constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
MULTIPATH_GCN_BOTH constexpr int64_t at_most(int64_t a, int64_t limit) { return a < limit ? a : limit; }
MULTIPATH_GCN_BOTH constexpr int64_t at_least(int64_t a, int64_t limit) { return a > limit ? a : limit; }

// Blocks walk over the tiles in steps of the grid, so a grid may be smaller than its tiles.
constexpr int64_t blocks_for(int64_t tiles) { return at_most(tiles, kMaxBlocks); }

// ---- Which kernel. The one place for this rule: a shape that cuBLAS or cuDNN is measured to win is to be sent there
// from here, with the measurement in benchmarks/results. Until a GPU has been measured it reads: 16-bit types run on the
// tensor cores unless windows are too narrow to fill one of their steps by half; float32 does where TF32 was asked for.
enum class Path { fma, mma };

constexpr Path choose_path(int element_bytes, bool tf32, int64_t width, int64_t packed_bytes) {
  const bool tensor_cores = element_bytes == 2 || (element_bytes == 4 && tf32);
  return tensor_cores && width >= 16 / element_bytes && packed_bytes <= kMaxPackedBytes ? Path::mma : Path::fma;
}

// ---- Forward and input gradient: tiles of points x results.
enum class TileSize { large, medium, small };

struct Extent {
  int points, results;
};

constexpr Extent extent(TileSize size) {
  return size == TileSize::large ? Extent{128, 128} : size == TileSize::medium ? Extent{128, 64} : Extent{32, 64};
}

constexpr int64_t band_tiles(TileSize size, int64_t points, int64_t results) {
  return ceil_div(points, extent(size).points) * ceil_div(results, extent(size).results);
}

// The largest tile that gives every multiprocessor one.
constexpr TileSize choose_tile(int64_t points, int64_t results, int multiprocessors, bool large_fits) {
  if (large_fits && results > extent(TileSize::medium).results &&
      band_tiles(TileSize::large, points, results) >= multiprocessors)
    return TileSize::large;
  return band_tiles(TileSize::medium, points, results) >= multiprocessors ? TileSize::medium : TileSize::small;
}

// Shared memory of the kernel in band_fma.cuh, for accumulators of kBytes: kStages chunks of terms x points and of terms x
// results, offsets of the points, names of the terms in kSlots chunks and of the results, and one bit per chunk that says
// whether it is needed.
template <int kBytes, TileSize kSize>
struct FmaTile {
  static constexpr int kPoints = extent(kSize).points, kResults = extent(kSize).results;
  static constexpr int kPerLane = kPoints / kLanes, kPerWarp = kResults / kWarps;
  static constexpr int kChunk = 16, kStages = 3, kSlots = kStages + 1, kMapped = 4096;
  static constexpr int kPointStride = kPoints + 1;              // odd: transposing copies meet every bank once
  static constexpr int kResultStride = kResults + 16 / kBytes;  // keeps 16-byte reads aligned
  static constexpr int kInBytes = kStages * kChunk * kPointStride * kBytes;
  static constexpr int kWeightBytes = kStages * kChunk * kResultStride * kBytes;
  static constexpr int kNameBytes = 8 * (kPoints + kSlots * kChunk + kResults);
  static constexpr int kSharedBytes = kInBytes + kWeightBytes + kNameBytes + kMapped / 8;
  static_assert(kMapped / 32 <= kThreads && kInBytes % 16 == 0 && kSharedBytes <= kMaxSharedBytes);
  static_assert(kLanes * (kResults + 1) * kBytes <= kInBytes + kWeightBytes);  // results on their way out as rows
};

// Shared memory of the kernel in band_mma.cuh: kStages chunks of 64 bytes of terms, and names as above.
template <int kElementBytes, bool kRows, TileSize kSize>
struct MmaTile {
  static constexpr int kPoints = extent(kSize).points, kResults = extent(kSize).results;
  static constexpr int kWarpsAlongPoints = kSize == TileSize::medium ? 4 : 2;
  static constexpr int kWarpsAlongResults = kWarps / kWarpsAlongPoints;
  static constexpr int kWarpPoints = kPoints / kWarpsAlongPoints, kWarpResults = kResults / kWarpsAlongResults;
  static constexpr int kChunk = 64 / kElementBytes, kSteps = 2, kStep = kChunk / kSteps;
  static constexpr int kStages = 4, kSlots = kStages + 1;
  static constexpr int kTermStride = 80 / kElementBytes;  // 5 x 16 bytes: eight rows meet every bank once
  static constexpr int kPointStride = kPoints + 8;        // likewise for rows of points
  static constexpr int kInElements = kRows ? kPoints * kTermStride : kChunk * kPointStride;
  static constexpr int kWeightElements = kResults * kTermStride;
  static constexpr int kStageElements = kInElements + kWeightElements;
  static constexpr int kNameBytes = 8 * (kSlots * kChunk + kResults);
  static constexpr int kSharedBytes = kStages * kStageElements * kElementBytes + kNameBytes;
  static constexpr int kOutRowStride = kResults + 16 / kElementBytes, kOutPlaneStride = kPoints + 16 / kElementBytes;
  static_assert(kInElements * kElementBytes % 16 == 0 && kSharedBytes <= kMaxSharedBytes);
  static_assert(kPoints * kOutRowStride <= kStages * kStageElements);
  static_assert(kResults * kOutPlaneStride <= kStages * kStageElements);
};

// Weights for the tensor cores: [results, terms], both padded to whole tiles, and two words per tile and chunk.
struct PackedShape {
  int64_t result_tiles, chunks, element_bytes, tile_results, chunk_terms;

  constexpr int64_t bytes() const { return result_tiles * tile_results * chunks * chunk_terms * element_bytes; }
  constexpr int64_t bytes_with_flags() const { return bytes() + result_tiles * chunks * 8; }
};

constexpr PackedShape packed_shape(int64_t results, int64_t terms, TileSize size, int element_bytes) {
  const int64_t chunk = 64 / element_bytes;
  return {ceil_div(results, extent(size).results), ceil_div(terms, chunk), element_bytes, extent(size).results, chunk};
}

// ---- Weight gradient: tiles of filters x channels, and the points split so that every multiprocessor has work.
template <int kBytes>
struct FmaGradTile {
  static constexpr int kFilters = 64, kChannels = 64, kChunk = 32, kStages = kBytes == 8 ? 2 : 3;
  static constexpr int kStride = 64 + 16 / kBytes;
  static constexpr int kStageElements = 2 * kChunk * kStride;
  static constexpr int kSharedBytes = kStages * kStageElements * kBytes + 8 * kFilters;
  static_assert(kSharedBytes <= kMaxSharedBytes);
};

template <int kElementBytes, bool kRows, int kSide>
struct MmaGradTile {
  static constexpr int kFilters = kSide, kChannels = kSide;
  static constexpr int kWarpsAlongFilters = 4, kWarpsAlongChannels = 2;
  static constexpr int kWarpFilters = kFilters / kWarpsAlongFilters, kWarpChannels = kChannels / kWarpsAlongChannels;
  static constexpr int kChunk = 64 / kElementBytes, kSteps = 2, kStep = kChunk / kSteps, kStages = 4;
  static constexpr int kStride = kRows ? kSide + 8 : 80 / kElementBytes;
  static constexpr int kOperandElements = kRows ? kChunk * kStride : kSide * kStride;
  static constexpr int kStageElements = 2 * kOperandElements;
  static constexpr int kSharedBytes = kStages * kStageElements * kElementBytes + 8 * kFilters;
  static_assert(kOperandElements * kElementBytes % 16 == 0 && kSharedBytes <= kMaxSharedBytes);
};

struct GradShape {
  int64_t filter_tiles, channel_tiles, splits, points_per_split;

  constexpr int64_t tiles() const { return filter_tiles * channel_tiles * splits; }
};

// Four blocks per multiprocessor where the points allow chunks of 512, counting the tiles that windows of K channels touch.
constexpr GradShape grad_shape(int64_t points, int64_t filters, int64_t channels, int64_t width, int side, int chunk,
                               int accumulator_bytes, int multiprocessors) {
  const int64_t filter_tiles = ceil_div(filters, side), channel_tiles = ceil_div(channels, side);
  const int64_t busy = filter_tiles * at_most(channel_tiles, ceil_div(width, side) + 1);
  int64_t splits = ceil_div(4 * static_cast<int64_t>(multiprocessors), busy);
  splits = at_most(splits, ceil_div(points, 512));
  splits = at_most(splits, at_least(kMaxPartialBytes / (filters * width * accumulator_bytes), 1));
  const int64_t each = round_up(ceil_div(points, at_least(splits, 1)), chunk);
  return {filter_tiles, channel_tiles, ceil_div(points, each), each};
}

// The widest copy that rows of `run` elements allow: every stride and the address are multiples of it.
constexpr int copy_bytes(uint64_t address, int64_t run, int64_t stride, int64_t batch_stride, int element_bytes) {
  for (int bytes = 16; bytes > element_bytes && bytes >= 4; bytes /= 4) {
    const int64_t elements = bytes / element_bytes;
    if (address % bytes == 0 && run % elements == 0 && stride % elements == 0 && batch_stride % elements == 0) return bytes;
  }
  return element_bytes;
}

// ---- Views. Rows of several images are one run of rows, if that can be said with one stride.
template <typename T>
constexpr bool rows_of(View<T>& view) {
  if (view.channel_stride != 1) return false;
  if (view.batch > 1) {
    if (view.pixels == 1) view.pixel_stride = view.batch_stride;
    if (view.pixels > 1 && view.batch_stride != view.pixels * view.pixel_stride) return false;
    view.pixels *= view.batch, view.batch = 1, view.batch_stride = 0;
  }
  return view.pixels <= 1 || view.pixel_stride >= view.channels;
}

template <typename T>
constexpr bool planes_of(View<T>& view) {
  if (view.pixels == 1) view.pixel_stride = 1;
  return view.pixel_stride == 1;
}

template <typename T>
inline int copy_bytes(const View<T>& view, bool rows) {
  const auto address = reinterpret_cast<uint64_t>(view.data);
  return rows ? copy_bytes(address, view.channels, view.pixel_stride, 0, sizeof(T))
              : copy_bytes(address, view.pixels, view.channel_stride, view.batch_stride, sizeof(T));
}

}  // namespace multipath_gcn::gpu
