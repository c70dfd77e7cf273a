// csrc/cuda/launch_shape.h: exact where sizes are beyond 32 bits, and within every limit of a launch.
#include "cuda/launch_shape.h"

#include <cstdio>
#include <random>

using namespace multipath_gcn;
using namespace multipath_gcn::gpu;

static int failures = 0;
#define CHECK(rule) \
  if (!(rule) && ++failures) std::printf("line %d: %s\n", __LINE__, #rule)

template <int kBytes>
void check_shared_memory() {
  CHECK((FmaTile<kBytes, TileSize::medium>::kSharedBytes <= kMaxSharedBytes));
  CHECK((FmaTile<kBytes, TileSize::small>::kSharedBytes <= kMaxSharedBytes));
  CHECK((FmaGradTile<kBytes>::kSharedBytes <= kMaxSharedBytes));
}

int main() {
  constexpr int64_t kMost = INT64_MAX, kBillion = 1000000000;

  CHECK(ceil_div(kMost, 1) == kMost && ceil_div(kMost, 128) == kMost / 128 + 1 && ceil_div(0, 7) == 0);
  CHECK(ceil_div(128, 128) == 1 && ceil_div(129, 128) == 2 && round_up(129, 128) == 256);
  CHECK(blocks_for(1) == 1 && blocks_for(kMaxBlocks + 1) == kMaxBlocks);

  // Tiles cover all points and results, to the last, far beyond 2^31 elements.
  for (const TileSize size : {TileSize::large, TileSize::medium, TileSize::small}) {
    const Extent e = extent(size);
    CHECK(band_tiles(size, 1, 1) == 1);
    CHECK(band_tiles(size, e.points, e.results) == 1);
    CHECK(band_tiles(size, e.points + 1, e.results + 1) == 4);
    CHECK(band_tiles(size, 500 * kBillion, 1000) == ceil_div(500 * kBillion, e.points) * ceil_div(1000, e.results));
    CHECK(blocks_for(band_tiles(size, 500 * kBillion, 1000)) == kMaxBlocks);
  }

  // The largest tile that leaves no multiprocessor without one.
  CHECK(choose_tile(131072, 512, 132, true) == TileSize::large);
  CHECK(choose_tile(131072, 512, 132, false) == TileSize::medium);
  CHECK(choose_tile(131072, 64, 132, true) == TileSize::medium);
  CHECK(choose_tile(2048, 512, 132, true) == TileSize::small);
  CHECK(choose_tile(1, 1, 132, true) == TileSize::small);

  CHECK(choose_path(8, true, 4096, 0) == Path::fma && choose_path(4, false, 4096, 0) == Path::fma);
  CHECK(choose_path(4, true, 4, 0) == Path::mma && choose_path(4, true, 3, 0) == Path::fma);
  CHECK(choose_path(2, false, 8, 0) == Path::mma && choose_path(2, false, 7, 0) == Path::fma);
  CHECK(choose_path(2, false, 4096, kMaxPackedBytes + 1) == Path::fma);

  check_shared_memory<4>();
  check_shared_memory<8>();

  // Packed weights: whole tiles of results, whole chunks of 64 bytes of terms, a word pair for each tile and chunk.
  for (const int bytes : {2, 4}) {
    const PackedShape shape = packed_shape(129, 1433, TileSize::large, bytes);
    CHECK(shape.bytes() == 256 * round_up(1433, 64 / bytes) * bytes);
    CHECK(shape.bytes_with_flags() == shape.bytes() + 2 * ceil_div(1433, 64 / bytes) * 8);
    CHECK(packed_shape(kBillion, kBillion, TileSize::small, bytes).bytes() > kBillion * kBillion);
  }

  // Parts of the points: all of them, none twice, none empty, whole chunks, within memory.
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const auto up_to = [&](int64_t limit) { return static_cast<int64_t>(random() % limit) + 1; };
    const int64_t points = i % 3 ? up_to(1 << (random() % 30)) : up_to(100 * kBillion), filters = up_to(3000);
    const int64_t channels = up_to(3000), width = up_to(channels);
    const int side = i % 2 ? 64 : 128, chunk = i % 5 ? 32 : 16, bytes = i % 7 ? 4 : 8;
    const GradShape shape = grad_shape(points, filters, channels, width, side, chunk, bytes, 1 + static_cast<int>(random() % 200));
    CHECK(shape.splits >= 1 && shape.points_per_split % chunk == 0);
    CHECK(shape.splits * shape.points_per_split >= points && (shape.splits - 1) * shape.points_per_split < points);
    CHECK(shape.splits == 1 || shape.splits * filters * width * bytes <= kMaxPartialBytes);
    CHECK(shape.filter_tiles * side >= filters && shape.channel_tiles * side >= channels);
    CHECK(shape.tiles() == shape.filter_tiles * shape.channel_tiles * shape.splits);
  }

  // Copies are as wide as address, runs and strides allow.
  CHECK(copy_bytes(64, 128, 256, 0, 2) == 16 && copy_bytes(64, 128, 256, 512, 4) == 16);
  CHECK(copy_bytes(68, 128, 256, 0, 2) == 4 && copy_bytes(66, 128, 256, 0, 2) == 2);
  CHECK(copy_bytes(64, 126, 256, 0, 2) == 4 && copy_bytes(64, 127, 256, 0, 2) == 2 && copy_bytes(64, 127, 256, 0, 4) == 4);
  CHECK(copy_bytes(64, 128, 252, 0, 2) == 4 && copy_bytes(64, 128, 256, 1, 2) == 2);
  CHECK(copy_bytes(64, 128, 256, 0, 8) == 16 && copy_bytes(72, 128, 256, 0, 8) == 8);

  // Rows of several images are one run of rows where one stride reaches them all.
  const auto rows = [](View<float> view) { return rows_of(view) ? view.batch * 1000000 + view.pixels * 1000 + view.pixel_stride : -1; };
  CHECK(rows({nullptr, 1, 8, 5, 0, 1, 8}) == 1005008);
  CHECK(rows({nullptr, 3, 8, 5, 40, 1, 8}) == 1015008);
  CHECK(rows({nullptr, 3, 8, 1, 24, 1, 8}) == 1003024);
  CHECK(rows({nullptr, 3, 8, 5, 80, 1, 8}) == -1);
  CHECK(rows({nullptr, 3, 8, 5, 40, 5, 1}) == -1);
  const auto planes = [](View<float> view) { return planes_of(view); };
  CHECK(planes({nullptr, 3, 8, 5, 40, 5, 1}) && planes({nullptr, 3, 8, 1, 24, 3, 8}) && !planes({nullptr, 3, 8, 5, 40, 1, 8}));

  std::printf("%d failures\n", failures);
  return failures != 0;
}
