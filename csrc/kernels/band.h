// A banded product, the common shape of the transform and of its input gradient:
//
//   out[j] = sum_{i = begin[j]}^{end[j] - 1} w[j, i] * in[i mod inputs],   begin and end nondecreasing in j
//
// Forward: outputs are the filters sorted by window start, inputs the channels. Input gradient: outputs are the channels,
// inputs the sorted filters; those whose window covers a channel are one cyclic run. Sorting is what makes neighbours
// share most of what they read, so that a tile of up to kMaxOutputs of them loads each input once:
//
//   step   1 2 3 4 5 6 7 8        steps 1-2 have one output active, 3-4 two (head), 5-6 all three (main),
//   out 0  x x x x x x            7 the last two, 8 the last (tail). No weight is padded with zeros: a value outside
//   out 1      x x x x x          of a window is never multiplied, so an infinity there stays where it is.
//   out 2          x x x x
#pragma once
#include <cstdint>
#include <vector>

namespace multipath_gcn {

constexpr int kMaxOutputs = 8;

struct Windows {
  const int32_t* start;  // [out_channels], any values
  const int32_t* order;  // [out_channels], sorts start mod in_channels
  int64_t in_channels, out_channels, width;
};

struct Tile {
  int32_t first, count;           // outputs first ... first + count - 1
  int32_t input;                  // where the first one begins, in [0, inputs)
  int32_t head[kMaxOutputs - 1];  // steps with outputs 0 ... m active
  int32_t main;                   // steps with all active
  int32_t tail[kMaxOutputs - 1];  // steps with outputs m + 1 ... active
  int64_t weight;                 // where its weights lie among the packed ones: step by step, active outputs each
};

struct Band {
  int64_t inputs, outputs, weights;
  std::vector<Tile> tiles;
  std::vector<int64_t> begin, end;  // [outputs], in inputs, whatever the tiles count in
  std::vector<int32_t> position;  // channel of the input tensor -> i
  std::vector<int32_t> channel;   // j -> channel of the output tensor
  std::vector<int32_t> start;     // input gradient: i -> channel where the filter's window starts
  std::vector<int32_t> rank;      // forward: channel of the output tensor -> j
};

// The same band with tiles that step over pairs of inputs (2 i, 2 i + 1), for instructions that multiply pairs: a pair is
// active where either input is. `inputs` must be even.
Band in_pairs(const Band& band, int outputs_per_tile);

// outputs_per_tile <= kMaxOutputs. Throws std::invalid_argument if order is not a permutation that sorts start.
Band forward_band(const Windows& windows, int outputs_per_tile);
Band input_grad_band(const Windows& windows, int outputs_per_tile);

}  // namespace multipath_gcn
