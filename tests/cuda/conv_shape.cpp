// csrc/cuda/conv_shape.h: every output is met by its taps and by no others, launches cover everything once, within every
// limit, and exactly where sizes are beyond 32 bits.
#include "cuda/conv_shape.h"

#include <cstdio>
#include <map>
#include <random>
#include <set>
#include <utility>

using namespace multipath_gcn;
using namespace multipath_gcn::gpu;

static int failures = 0;
#define CHECK(rule) \
  if (!(rule) && ++failures < 50) std::printf("line %d: %s\n", __LINE__, #rule)

static std::mt19937_64 random_bits(1);
static int64_t up_to(int64_t limit) { return static_cast<int64_t>(random_bits() % static_cast<uint64_t>(limit)) + 1; }

// What output i of an axis reads: (place, tap).
using Reads = std::set<std::pair<int64_t, int64_t>>;
static Reads reads(const ConvAxis& axis, int64_t i) {
  Reads all;
  for (int64_t t = 0; t < axis.taps; ++t) {
    const int64_t at = i * axis.read_step + axis.origin + t * axis.dilation;
    if (0 <= at && at < axis.limit) all.insert({at, axis.tap_first + t * axis.tap_step});
  }
  return all;
}

static ConvShape one_direction(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t above, int64_t below) {
  ConvShape shape{};
  shape.groups = shape.channels = shape.filters = 1;
  for (int d = 0; d < 2; ++d) {
    shape.kernel[d] = kernel, shape.stride[d] = stride, shape.dilation[d] = dilation, shape.padding[d] = above;
    shape.in[d] = in, shape.out[d] = (in + above + below - (kernel - 1) * dilation - 1) / stride + 1;
  }
  return shape;
}

static void check_axes() {
  for (int i = 0; i < 20000; ++i) {
    const int64_t kernel = up_to(7), dilation = up_to(6), extent = (kernel - 1) * dilation + 1, in = up_to(24);
    const int64_t above = up_to(9) - 1, below = at_least(up_to(9) - 1, extent - in - above), stride = up_to(i % 10 ? 7 : 60);
    const ConvShape shape = one_direction(in, kernel, stride, dilation, above, below);
    std::map<int64_t, Reads> by_input;
    for (int64_t o = 0; o < shape.out[0]; ++o) {
      Reads wanted;
      for (int64_t r = 0; r < kernel; ++r) {
        const int64_t at = o * stride + r * dilation - above;
        if (0 <= at && at < in) wanted.insert({at, r}), by_input[at].insert({o, r});
      }
      CHECK(reads(forward_axis(shape, 0), o) == wanted);
    }
    const ConvWork work = conv_work(shape, 1, true);
    std::set<int64_t> stored;
    for (int64_t phase = 0; phase < work.phases(0); ++phase) {
      const ConvAxis axis = work.axis(0, phase);
      CHECK(axis.size <= work.axis(0, 0).size && axis.taps <= work.most_taps(0));
      for (int64_t i = 0; i < axis.size; ++i) {
        const int64_t at = axis.first + i * axis.step;
        CHECK(0 <= at && at < in && stored.insert(at).second);
        CHECK(reads(axis, i) == by_input[at]);
      }
    }
    CHECK(static_cast<int64_t>(stored.size()) == in);
  }
  constexpr int64_t kMost = kMaxPadded;
  const ConvAxis far = conv_work(one_direction(kMost - 6, 3, kMost - 9, 2, 3, 3), 1, true).axis(0, 0);
  CHECK(far.size == 2 && far.step == kMost - 9 && far.limit == 2 && far.taps == 0);
  const ConvAxis wide = forward_axis(one_direction(kMost - 2, 3, 1, 1, 1, 1), 0);
  CHECK(wide.size == kMost - 2 && wide.limit == kMost - 2 && wide.origin == -1);
}

static void check_block(const ConvBlock& block, bool channels_last) {
  CHECK(block.units >= 1 && block.lanes >= 1 && block.units * block.lanes == kThreads && block.units <= kLanes);
  CHECK((block.units & (block.units - 1)) == 0 && block.units_first == channels_last);
}

static ConvShape any_shape(bool huge) {
  ConvShape shape{};
  shape.groups = up_to(huge ? 100000 : 300), shape.channels = up_to(40), shape.filters = up_to(40);
  for (int d = 0; d < 2; ++d) {
    shape.kernel[d] = up_to(9), shape.dilation[d] = up_to(3), shape.padding[d] = up_to(5) - 1;
    shape.stride[d] = random_bits() % 8 ? up_to(3) : up_to(1000);
    shape.in[d] = (shape.kernel[d] - 1) * shape.dilation[d] + up_to(huge ? 100000000 : 300);
    shape.out[d] = (shape.in[d] + shape.padding[d] - (shape.kernel[d] - 1) * shape.dilation[d] - 1) / shape.stride[d] + 1;
  }
  return shape;
}

static void check_slices(const ConvGradTiles& tiles, const ConvShape& shape, int value_bytes) {
  CHECK(tiles.slices >= 1 && tiles.slices * tiles.positions_per_slice >= tiles.positions);
  CHECK((tiles.slices - 1) * tiles.positions_per_slice < tiles.positions && tiles.positions_per_slice % tiles.block.lanes == 0);
  const int64_t weights = shape.groups * shape.filters * shape.channels * shape.kernel[0] * shape.kernel[1];
  CHECK(tiles.slices == 1 || tiles.slices * weights * value_bytes <= kMaxPartialBytes);
  CHECK(blocks_for(tiles.unit_tiles * tiles.slices) <= kMaxBlocks);
}

static void check_launches() {
  for (int i = 0; i < 20000; ++i) {
    const bool huge = i % 4 == 0, last = i % 2, wide = i % 3 == 0;
    const ConvShape shape = any_shape(huge);
    const int64_t batch = up_to(huge ? 3 : 300);
    const int multiprocessors = static_cast<int>(up_to(200)), bytes = i % 5 ? 4 : 8;
    const ConvWork work = conv_work(shape, batch, i % 7 < 3);

    const int filters = conv_filter_block(work, multiprocessors), vector = wide && work.channels % 4 == 0 ? 4 : 1;
    CHECK(filters == 1 || filters == 2 || filters == 4 || filters == 8);
    const bool three = work.three_rows();
    const ConvTiles tiles = conv_tiles(work, last, filters, vector, three, bytes, multiprocessors);
    check_block(tiles.block, last);
    CHECK(tiles.filter_blocks * filters >= work.filters && (tiles.filter_blocks - 1) * filters < work.filters);
    CHECK(tiles.units == shape.groups * tiles.filter_blocks);
    CHECK(tiles.unit_tiles * tiles.block.units >= tiles.units && (tiles.unit_tiles - 1) * tiles.block.units < tiles.units);
    const int64_t step = int64_t{three ? 9 : 1} * vector * filters * bytes * tiles.block.units;
    CHECK(tiles.steps >= 1 && tiles.shared_bytes == kConvItemBytes + tiles.steps * step && tiles.shared_bytes <= 48 * 1024);
    const int64_t positions = conv_positions(batch, filters, work.axis(0, 0), work.axis(1, 0));
    CHECK(tiles.shares >= 1 && tiles.shares <= ceil_div(positions, tiles.block.lanes));
    CHECK(tiles.items(work) >= tiles.unit_tiles && blocks_for(tiles.items(work)) <= kMaxBlocks);
    CHECK(tiles.items(work) / tiles.shares / tiles.unit_tiles == work.phases(0) * work.phases(1));

    const int blocks = conv_mma_blocks(work.filters);
    const ConvTiles products = conv_mma_tiles(work, last, blocks, multiprocessors);
    CHECK(products.block.units * products.block.lanes == kThreads && products.block.lanes % kLanes == 0);
    CHECK((blocks == 1 || work.filters > 4 * blocks) && products.units == shape.groups * products.filter_blocks);
    CHECK(products.filter_blocks * 8 * blocks >= work.filters);
    CHECK(products.unit_tiles * products.block.units >= products.units);
    CHECK(products.steps >= 1 && products.shared_bytes <= 48 * 1024);
    CHECK(products.shared_bytes == kConvItemBytes + products.steps * (8 * kConvTermBytes + products.block.units * blocks * 256));
    CHECK(products.shares >= 1 && blocks_for(products.items(work)) <= kMaxBlocks);

    const ConvGradTiles grad = conv_grad_tiles(shape, batch, last, bytes, multiprocessors);
    check_block(grad.block, last);
    CHECK(grad.side == 1 ? shape.kernel[0] == 1 && shape.kernel[1] == 1 : grad.side == 3);
    CHECK(grad.rows == 1 || grad.side == 1 || (shape.stride[0] == 1 && shape.dilation[0] == 1));
    for (int d = 0; d < 2; ++d) CHECK(grad.tap_blocks[d] * grad.side >= shape.kernel[d]);
    CHECK(grad.units >= shape.groups * shape.channels * ceil_div(shape.filters, grad.filter_block));
    CHECK(grad.unit_tiles * grad.block.units >= grad.units && (grad.unit_tiles - 1) * grad.block.units < grad.units);
    CHECK(grad.positions == batch * ceil_div(shape.out[0], grad.rows) * shape.out[1]);
    check_slices(grad, shape, bytes);
    CHECK(grad.shared_bytes <= 48 * 1024);

    const ConvGradTiles sums = conv_grad_mma_tiles(shape, batch, last, multiprocessors);
    CHECK(sums.block.units * sums.block.lanes == kWarps * 16 && sums.block.lanes % 16 == 0);
    CHECK(sums.unit_tiles * sums.block.units >= sums.units && (sums.unit_tiles - 1) * sums.block.units < sums.units);
    CHECK(sums.positions == batch * shape.out[0] * shape.out[1] && sums.shared_bytes <= 48 * 1024);
    check_slices(sums, shape, 4);
  }
}

int main() {
  check_axes();
  check_launches();

  // Blocks of filters: few, and none that eight would fill less than four.
  const int wanted[][3] = {{1, 1, 1}, {2, 2, 2}, {3, 4, 4}, {4, 4, 4}, {5, 8, 4}, {8, 8, 4}, {12, 4, 4}, {16, 8, 4}};
  for (const auto& [filters, of_eight, of_four] : wanted)
    CHECK(filter_block(filters, 8) == of_eight && filter_block(filters, 4) == of_four);

  // Tensor cores: 16-bit types, and products full enough; masks have 15 bits a direction.
  const auto products = [](int64_t channels, int64_t filters, int64_t kernel, int bytes) {
    ConvShape shape = one_direction(64, kernel, 1, 1, kernel / 2, kernel / 2);
    shape.channels = channels, shape.filters = filters;
    return conv_on_tensor_cores(conv_work(shape, 1, false), bytes);
  };
  CHECK(products(8, 8, 3, 2) && products(4, 8, 3, 2) && products(16, 16, 15, 2) && !products(8, 8, 3, 4));
  CHECK(!products(4, 4, 3, 2) && !products(1, 64, 3, 2) && !products(64, 2, 3, 2) && !products(16, 16, 17, 2));

  // Channels-last: units along a warp. Planes: positions, and several units where those are few.
  CHECK(conv_block(64, 1000000, 32, 256, true).units == 32 && conv_block(3, 1000000, 32, 256, true).units == 4);
  CHECK(conv_block(64, 1000000, 32, 256, false).lanes == 256 && conv_block(64, 14, 32, 256, false).units == 16);

  std::printf("%d failures\n", failures);
  return failures != 0;
}
