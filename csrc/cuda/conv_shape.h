// The arithmetic of grouped convolutions' launches: what an output reads, and who computes what. All of it follows from
// sizes, strides and the number of multiprocessors. Plain C++, tested on the CPU.
#pragma once
#include "../kernels/grouped_conv2d.h"
#include "launch_shape.h"

namespace multipath_gcn::gpu {

// One direction of a convolution. Output i of `size` is stored at first + i step, and is the sum over t < taps of what lies
// at i read_step + origin + t dilation, or 0 outside of [0, limit), times weight tap_first + t tap_step.
struct ConvAxis {
  int size, first, step;
  int read_step, origin, limit;
  int taps, dilation, tap_first, tap_step;
};

constexpr int64_t kMaxPadded = (int64_t{1} << 31) - 1;  // of an image's height and width: what such an axis can hold

MULTIPATH_GCN_BOTH constexpr int as_int(int64_t value) { return static_cast<int>(value); }

MULTIPATH_GCN_BOTH constexpr ConvAxis forward_axis(const ConvShape& shape, int d) {
  return {as_int(shape.out[d]), 0, 1, as_int(shape.stride[d]), as_int(-shape.padding[d]), as_int(shape.in[d]),
          as_int(shape.kernel[d]), as_int(shape.dilation[d]), 0, 1};
}

MULTIPATH_GCN_BOTH constexpr int64_t common_divisor(int64_t a, int64_t b) { return b == 0 ? a : common_divisor(b, a % b); }

// The gradient by x reads that of y: inputs `phase`, phase + stride, ... of a phase are met by the same taps r, those with
// r dilation = phase + padding modulo the stride. They lie stride / gcd(stride, dilation) apart; the last reads first.
MULTIPATH_GCN_BOTH constexpr ConvAxis input_grad_axis(const ConvShape& shape, int d, int64_t phase) {
  const int64_t stride = shape.stride[d], dilation = shape.dilation[d], divisor = common_divisor(stride, dilation);
  const int64_t apart = stride / divisor, wanted = (phase + shape.padding[d]) % stride;
  ConvAxis axis{as_int(ceil_div(shape.in[d] - phase, stride)), as_int(phase), as_int(stride), 1, 0, as_int(shape.out[d]),
                0, as_int(dilation / divisor), 0, as_int(-apart)};
  int64_t met = 0;  // r dilation modulo the stride
  for (int64_t r = 0; r < at_most(apart, shape.kernel[d]); ++r) {
    if (met == wanted) {
      const int64_t taps = (shape.kernel[d] - 1 - r) / apart + 1, last = r + (taps - 1) * apart;
      axis.taps = as_int(taps), axis.tap_first = as_int(last);
      axis.origin = as_int((phase + shape.padding[d] - last * dilation) / stride);
      break;
    }
    met = (met + dilation) % stride;
  }
  return axis;
}

// What a launch computes: y from x, or the gradient by x (transposed), from images of `channels` a group to images of
// `filters` a group.
struct ConvWork {
  ConvShape shape;
  bool transposed;
  int64_t batch, channels, filters;

  MULTIPATH_GCN_BOTH constexpr int64_t phases(int d) const {
    return transposed ? at_most(shape.stride[d], shape.in[d]) : 1;
  }
  MULTIPATH_GCN_BOTH constexpr ConvAxis axis(int d, int64_t phase) const {
    return transposed ? input_grad_axis(shape, d, phase) : forward_axis(shape, d);
  }
  constexpr int64_t most_taps(int d) const {
    const int64_t apart = transposed ? shape.stride[d] / common_divisor(shape.stride[d], shape.dilation[d]) : 1;
    return ceil_div(shape.kernel[d], apart);
  }
  // Three rows of taps whose inputs are neighbours, so that a thread can read each of them once.
  constexpr bool three_rows() const {
    const ConvAxis rows = axis(0, 0);
    return phases(0) * phases(1) == 1 && rows.taps == 3 && axis(1, 0).taps == 3 && rows.read_step == 1 && rows.dilation == 1;
  }
};

constexpr ConvWork conv_work(const ConvShape& shape, int64_t batch, bool transposed) {
  return {shape, transposed, batch, transposed ? shape.filters : shape.channels, transposed ? shape.channels : shape.filters};
}

// ---- A *unit* is a block of a group's filters, or of its weights, and a thread sums for one unit. A block of threads has
// `units` of them and `lanes` threads to each. Whose number runs first along a warp has neighbours in memory for neighbours:
// units where images are channels-last, else lanes, which take neighbouring positions.
struct ConvBlock {
  int units, lanes;
  bool units_first;
};

constexpr int64_t power_above(int64_t n, int64_t limit) {
  int64_t power = 1;
  while (power < n && power < limit) power *= 2;
  return power;
}

constexpr ConvBlock conv_block(int64_t units, int64_t positions, int most_units, int most_lanes, bool channels_last) {
  if (channels_last) {
    const int each = static_cast<int>(power_above(units, at_most(most_units, kLanes)));
    return {each, kThreads / each, true};
  }
  const int64_t lanes = power_above(positions, most_lanes);
  const int each = static_cast<int>(at_most(kThreads / lanes, power_above(units, most_units)));
  return {each, kThreads / each, false};
}

// Filters of one thread: so many share what it reads. The last block of a group may be in part beyond it.
constexpr int filter_block(int64_t filters, int most) {
  if (filters <= 2) return static_cast<int>(filters < 1 ? 1 : filters);
  return most >= 8 && filters > 4 && round_up(filters, 8) == round_up(filters, 4) ? 8 : 4;
}

// Rows of outputs of one thread.
MULTIPATH_GCN_BOTH constexpr int rows_per_thread(int filter_block) { return filter_block <= 2 ? 8 : 4; }

// Blocks to a multiprocessor, where there is work for them: two or three at a time, so that both end in whole waves; few, so
// that each uses what it has staged many times.
constexpr int64_t kConvBlocks = 6;

constexpr int kConvItemBytes = 128;
constexpr int kConvSharedBytes = 40 * 1024;  // of weights: three blocks and half of the cache beside them

// Forward and gradient by x. A *step* is what a thread sums at once: `vector` channels at one tap, or at all nine of
// three_rows. The weights of so many steps as fit are in shared memory; fewer units where that makes all of them fit.
struct ConvTiles {
  ConvBlock block;
  int64_t filter_blocks, units, unit_tiles;
  int64_t shares;  // blocks with the same units, which share out the positions
  int64_t steps;   // whose weights are in shared memory at a time
  int shared_bytes;

  MULTIPATH_GCN_BOTH constexpr int64_t items(const ConvWork& work) const {
    return unit_tiles * work.phases(0) * work.phases(1) * shares;
  }
};

MULTIPATH_GCN_BOTH constexpr int64_t conv_positions(int64_t batch, int filter_block, const ConvAxis& rows,
                                                    const ConvAxis& columns) {
  return batch * ceil_div(rows.size, rows_per_thread(filter_block)) * columns.size;
}

constexpr ConvTiles conv_tiles(const ConvWork& work, bool channels_last, int filter_block, int vector, bool three,
                               int value_bytes, int multiprocessors) {
  ConvTiles tiles{};
  tiles.filter_blocks = ceil_div(work.filters, filter_block);
  tiles.units = work.shape.groups * tiles.filter_blocks;
  const int unit_bytes = (three ? 9 : 1) * vector * filter_block * value_bytes;
  const int64_t steps = ceil_div(work.channels, vector) * (three ? 1 : work.most_taps(0) * work.most_taps(1));
  int most_units = kLanes;
  while (most_units > 4 && steps > kConvSharedBytes / (most_units * unit_bytes)) most_units /= 2;
  const int64_t positions = conv_positions(work.batch, filter_block, work.axis(0, 0), work.axis(1, 0));
  tiles.block = conv_block(tiles.units, positions, most_units, kThreads, channels_last);
  tiles.unit_tiles = ceil_div(tiles.units, tiles.block.units);
  const int64_t kinds = tiles.unit_tiles * work.phases(0) * work.phases(1);
  tiles.shares = at_most(ceil_div(positions, tiles.block.lanes), ceil_div(kConvBlocks * multiprocessors, kinds));
  const int step_bytes = tiles.block.units * unit_bytes;
  tiles.steps = at_least(at_most(kConvSharedBytes / step_bytes, steps), 1);
  tiles.shared_bytes = kConvItemBytes + static_cast<int>(tiles.steps * step_bytes);
  return tiles;
}

// Eight filters a thread read less than four twice, where there are threads enough.
constexpr int conv_filter_block(const ConvWork& work, int multiprocessors) {
  const int eight = filter_block(work.filters, 8);
  const int64_t positions = conv_positions(work.batch, eight, work.axis(0, 0), work.axis(1, 0));
  const int64_t units = ceil_div(work.filters, eight) * work.shape.groups;
  return positions >= ceil_div(int64_t{2} * kThreads * multiprocessors, units) ? eight : filter_block(work.filters, 4);
}

// ---- The same on the tensor cores, for 16-bit types: a warp takes a unit of 8, 16 or 32 filters and 32 positions, and a step
// is 16 terms, channels (an even number of them) at taps. Masks of positions have 15 bits for rows and for columns of taps.
// The one place for the rule which kernel runs: with fewer channels and filters the products are too empty to pay.
constexpr bool conv_on_tensor_cores(const ConvWork& work, int element_bytes) {
  return element_bytes == 2 && work.channels >= 4 && work.filters >= 4 && work.channels * work.filters >= 32 &&
         work.most_taps(0) <= 15 && work.most_taps(1) <= 15;
}

constexpr int conv_mma_blocks(int64_t filters) { return filters <= 8 ? 1 : filters <= 16 ? 2 : 4; }

constexpr int kConvTermBytes = 24;  // of two terms

constexpr ConvTiles conv_mma_tiles(const ConvWork& work, bool channels_last, int blocks, int multiprocessors) {
  ConvTiles tiles{};
  tiles.filter_blocks = ceil_div(work.filters, 8 * blocks);
  tiles.units = work.shape.groups * tiles.filter_blocks;
  const int64_t terms = round_up(work.channels, 2) * work.most_taps(0) * work.most_taps(1), steps = ceil_div(terms, 16);
  const int64_t positions = work.batch * work.axis(0, 0).size * work.axis(1, 0).size;
  const auto step_bytes = [&](int64_t units) { return 8 * kConvTermBytes + units * blocks * kLanes * 8; };
  int64_t units = channels_last ? power_above(tiles.units, kWarps) : kWarps / power_above(ceil_div(positions, kLanes), kWarps);
  while (units > 1 && steps > kConvSharedBytes / step_bytes(units)) units /= 2;
  tiles.block = {static_cast<int>(units), static_cast<int>(kThreads / units), channels_last};
  tiles.unit_tiles = ceil_div(tiles.units, units);
  const int64_t kinds = tiles.unit_tiles * work.phases(0) * work.phases(1);
  tiles.shares = at_most(ceil_div(positions, tiles.block.lanes), ceil_div(kConvBlocks * multiprocessors, kinds));
  tiles.steps = at_least(at_most(kConvSharedBytes / step_bytes(units), steps), 1);
  tiles.shared_bytes = kConvItemBytes + static_cast<int>(tiles.steps * step_bytes(units));
  return tiles;
}

// ---- Gradient by the weight. A thread sums for one channel, a block of filters and side x side taps over every lanes-th
// position of a slice; a block adds its lanes up, and another launch the slices.
struct ConvGradTiles {
  ConvBlock block;
  int filter_block, side, rows;  // rows: of outputs at a time
  int64_t filter_blocks, tap_blocks[2], units, unit_tiles;
  int64_t positions, slices, positions_per_slice;
  int shared_bytes;
};

// As many as there are blocks for, with at least 16 rounds to each, and within the memory for their sums.
constexpr int64_t conv_grad_slices(const ConvGradTiles& tiles, int64_t weights, int value_bytes, int multiprocessors) {
  int64_t slices = ceil_div(kConvBlocks * multiprocessors, tiles.unit_tiles);
  slices = at_most(slices, ceil_div(tiles.positions, int64_t{16} * tiles.block.lanes));
  return at_least(at_most(slices, kMaxPartialBytes / (weights * value_bytes)), 1);
}

constexpr ConvGradTiles conv_grad_tiles(const ConvShape& shape, int64_t batch, bool channels_last, int value_bytes,
                                        int multiprocessors) {
  ConvGradTiles tiles{};
  tiles.filter_block = filter_block(shape.filters, 4);
  tiles.side = shape.kernel[0] == 1 && shape.kernel[1] == 1 ? 1 : 3;
  tiles.rows = tiles.side == 1 || (shape.stride[0] == 1 && shape.dilation[0] == 1) ? 4 : 1;
  tiles.filter_blocks = ceil_div(shape.filters, tiles.filter_block);
  for (int d = 0; d < 2; ++d) tiles.tap_blocks[d] = ceil_div(shape.kernel[d], tiles.side);
  tiles.units = tiles.tap_blocks[0] * tiles.tap_blocks[1] * tiles.filter_blocks * shape.groups * shape.channels;
  tiles.positions = batch * ceil_div(shape.out[0], tiles.rows) * shape.out[1];
  tiles.block = conv_block(tiles.units, tiles.positions, channels_last ? kLanes : kWarps, kLanes, channels_last);
  tiles.unit_tiles = ceil_div(tiles.units, tiles.block.units);
  const int64_t weights = shape.groups * shape.filters * shape.channels * shape.kernel[0] * shape.kernel[1];
  tiles.slices = conv_grad_slices(tiles, weights, value_bytes, multiprocessors);
  tiles.positions_per_slice = round_up(ceil_div(tiles.positions, tiles.slices), tiles.block.lanes);
  tiles.slices = ceil_div(tiles.positions, tiles.positions_per_slice);
  tiles.shared_bytes = tiles.side * tiles.side * kThreads * value_bytes;
  return tiles;
}

// On the tensor cores: a warp takes 16 filters and up to kTermBlocks times eight terms, and 16 positions at a time.
constexpr int kTermBlocks = 9;

constexpr bool conv_grad_on_tensor_cores(const ConvShape& shape, int element_bytes) {
  return element_bytes == 2 && shape.channels >= 4 && shape.filters >= 8 && shape.kernel[0] <= 15 && shape.kernel[1] <= 15;
}

constexpr ConvGradTiles conv_grad_mma_tiles(const ConvShape& shape, int64_t batch, bool channels_last, int multiprocessors) {
  ConvGradTiles tiles{};
  const int64_t terms = shape.channels * shape.kernel[0] * shape.kernel[1];
  tiles.filter_blocks = ceil_div(shape.filters, 16);
  tiles.units = shape.groups * tiles.filter_blocks * ceil_div(terms, 8 * kTermBlocks);
  tiles.positions = batch * shape.out[0] * shape.out[1];
  const int64_t units =
      channels_last ? power_above(tiles.units, kWarps) : kWarps / power_above(ceil_div(tiles.positions, 16), kWarps);
  tiles.block = {static_cast<int>(units), static_cast<int>(kWarps / units * 16), channels_last};
  tiles.unit_tiles = ceil_div(tiles.units, units);
  tiles.slices = conv_grad_slices(tiles, shape.groups * shape.filters * terms, 4, multiprocessors);
  tiles.positions_per_slice = round_up(ceil_div(tiles.positions, tiles.slices), tiles.block.lanes);
  tiles.slices = ceil_div(tiles.positions, tiles.positions_per_slice);
  tiles.shared_bytes = kWarps * 16 * 8 * kTermBlocks * 4;  // the warps' sums; before, less for terms
  return tiles;
}

}  // namespace multipath_gcn::gpu
