// The arithmetic of launches over rows of features [*, F]: words, lanes, tiles, and how much of a matrix one of them
// takes. All of it follows from sizes alone, and with it the order of every sum. Plain C++, tested on the CPU.
#pragma once
#include "launch_shape.h"

namespace multipath_gcn::gpu {

// A lane reads words of 16 bytes where they divide a row, else elements; so many of them that several are under way.
constexpr int word_elements(int64_t features, int element_bytes) {
  return features % (16 / element_bytes) == 0 ? 16 / element_bytes : 1;
}
MULTIPATH_GCN_BOTH constexpr int words_per_lane(int word) { return word == 1 ? 4 : word == 8 ? 1 : 2; }

// A tile is one warp's work: `items` rows of `lanes` threads each, of one chunk of the features. Tiles of one chunk
// are neighbours: together they read a part of x that is the smaller for it.
struct RowTiles {
  int64_t features, chunk, chunks;
  int lanes, items;

  MULTIPATH_GCN_BOTH constexpr int64_t tiles_per_chunk(int64_t rows) const { return ceil_div(rows, items); }
  constexpr int64_t tiles(int64_t rows) const { return tiles_per_chunk(rows) * chunks; }
};

// At most a warp to a row; chunks begin at multiples of 8, where the bits of a row begin a byte.
constexpr RowTiles row_tiles(int64_t features, int word) {
  const int64_t most = int64_t{kLanes} * word * words_per_lane(word), chunks = ceil_div(features, most);
  const int64_t chunk = chunks == 1 ? features : round_up(ceil_div(features, chunks), 8);
  const int lanes = static_cast<int>(ceil_div(chunk, word * words_per_lane(word)));
  return {features, chunk, ceil_div(features, chunk), lanes, kLanes / lanes};
}

// Rows differ in length, and a block is done when its last warp is: warps walk from tile to tile, each at its own pace.
// The blocks are so many all the same that a multiprocessor which is done early takes new ones from the others' share.
constexpr int64_t walking_blocks(int64_t tiles, int multiprocessors) {
  return at_most(ceil_div(tiles, kWarps), int64_t{24} * multiprocessors);
}

// Shared memory of activation.cuh for a warp: a row number for every item of a tile and a byte for every value.
MULTIPATH_GCN_BOTH constexpr int flag_stride(const RowTiles& tiles) {
  return static_cast<int>(round_up(tiles.chunk, 8));
}
MULTIPATH_GCN_BOTH constexpr int flag_bytes(const RowTiles& tiles) { return tiles.items * (8 + flag_stride(tiles)); }

// A row of more than `length` entries is summed in parts, which end at the multiples of `length` among all entries;
// their sums are then added in order. The length grows with the root of the number of entries, and with it the number
// of parts that a row can have; it grows further where the sums (of two rows for every segment) would pass
// kMaxPartialBytes.
struct Segments {
  int64_t length, count;
};

constexpr Segments segments(int64_t entries, int64_t features, int value_bytes) {
  int64_t length = 64;
  while (16 * length * length < entries) length *= 2;
  while (length < entries && 2 * ceil_div(entries, length) > kMaxPartialBytes / at_least(features * value_bytes, 1))
    length *= 2;
  return {length, entries > length ? ceil_div(entries, length) : 0};
}

// Gradients of a matrix's entries: lanes to an entry, a power of two, so that they can be added by halves.
constexpr int entry_lanes(int64_t features, int word) {
  const int64_t words = ceil_div(features, word);
  int lanes = 1;
  while (lanes < kLanes && lanes * words_per_lane(word) < words) lanes *= 2;
  return lanes;
}

// Sums over all rows: `count` slabs of `rows`, each added by one block; several tiles to each, few enough to add up.
struct Slabs {
  int64_t rows, count;
};

constexpr Slabs slabs(int64_t rows, const RowTiles& tiles) {
  const int items = kWarps * tiles.items;
  const int64_t each = round_up(at_least(ceil_div(rows, 512), 4 * items), items);
  return {each, ceil_div(rows, each)};
}

}  // namespace multipath_gcn::gpu
