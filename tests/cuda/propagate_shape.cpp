// csrc/cuda/propagate_shape.h: tiles, segments and slabs cover everything once, within every limit. And known numbers
// of csrc/cuda/philox.cuh.
#include "cuda/propagate_shape.h"

#include <cstdio>
#include <random>

#include "cuda/philox.cuh"

using namespace multipath_gcn::gpu;

static int failures = 0;
#define CHECK(rule) \
  if (!(rule) && ++failures) std::printf("line %d: %s\n", __LINE__, #rule)

void check_tiles(int64_t features, int element_bytes) {
  const int word = word_elements(features, element_bytes), per_lane = word * words_per_lane(word);
  CHECK(features % word == 0 && (word == 1 || word * element_bytes == 16));
  const RowTiles tiles = row_tiles(features, word);
  CHECK(1 <= tiles.lanes && tiles.lanes <= kLanes && tiles.items >= 1 && tiles.lanes * tiles.items <= kLanes);
  CHECK(tiles.lanes * per_lane >= tiles.chunk && (tiles.lanes - 1) * per_lane < tiles.chunk);
  CHECK(tiles.chunks * tiles.chunk >= features && (tiles.chunks - 1) * tiles.chunk < features);
  CHECK(tiles.chunk % word == 0 && (tiles.chunks == 1 || tiles.chunk % 8 == 0));
  CHECK(kWarps * flag_bytes(tiles) <= 48 * 1024 && kWarps * tiles.items * tiles.chunk * 8 <= 48 * 1024);
  const int lanes = entry_lanes(features, word);
  CHECK(lanes >= 1 && lanes <= kLanes && (lanes & (lanes - 1)) == 0);
  for (const int64_t rows : {int64_t{1}, int64_t{2708}, int64_t{1000003}, int64_t{1} << 40}) {
    CHECK(tiles.tiles(rows) * tiles.items >= rows * tiles.chunks);
    CHECK(walking_blocks(tiles.tiles(rows), 132) <= 24 * 132 && walking_blocks(tiles.tiles(rows), 1) >= 1);
    const Slabs s = slabs(rows, tiles);
    CHECK(1 <= s.count && s.count <= 512 && s.rows % (kWarps * tiles.items) == 0);
    CHECK(s.count * s.rows >= rows && (s.count - 1) * s.rows < rows);
  }
}

int main() {
  for (const int bytes : {2, 4, 8})
    for (int64_t features = 1; features < 2000; ++features) check_tiles(features, bytes);
  CHECK(row_tiles(256, 4).lanes == kLanes && row_tiles(256, 4).chunks == 1);  // a warp to a row
  CHECK(row_tiles(256, 8).lanes == kLanes && row_tiles(256, 8).chunks == 1);

  CHECK(segments(0, 8, 4).count == 0 && segments(64, 8, 4).count == 0 && segments(65, 8, 4).count == 2);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const int64_t entries = static_cast<int64_t>(random() % (uint64_t{1} << (random() % 40)));
    const int64_t features = 1 + static_cast<int64_t>(random() % (uint64_t{1} << (random() % 14)));
    const int bytes = i % 2 ? 4 : 12;
    const Segments s = segments(entries, features, bytes);
    CHECK(s.length >= 64 && 16.0 * s.length * s.length >= entries);
    CHECK(s.count == 0 ? entries <= s.length : s.count * s.length >= entries && (s.count - 1) * s.length < entries);
    CHECK(2 * s.count * features * bytes <= kMaxPartialBytes);
  }

  // The test vectors of the authors' Random123.
  const auto equal = [](Words a, Words b) {
    return a.of[0] == b.of[0] && a.of[1] == b.of[1] && a.of[2] == b.of[2] && a.of[3] == b.of[3];
  };
  CHECK(equal(philox({0, 0, 0, 0}, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK(equal(philox({~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK(equal(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
              {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));

  std::printf("%d failures\n", failures);
  return failures != 0;
}
