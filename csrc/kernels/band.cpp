#include "band.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace multipath_gcn {
namespace {

int64_t mod(int64_t a, int64_t n) { return ((a % n) + n) % n; }

// The starts mod C in the order given, which must sort them.
std::vector<int64_t> sorted_starts(const Windows& w) {
  std::vector<int64_t> sorted(w.out_channels);
  std::vector<bool> seen(w.out_channels, false);
  for (int64_t j = 0; j < w.out_channels; ++j) {
    const int32_t o = w.order[j];
    const bool valid = 0 <= o && o < w.out_channels && !seen[o];
    if (valid) {
      seen[o] = true;
      sorted[j] = mod(w.start[o], w.in_channels);
    }
    if (!valid || (j > 0 && sorted[j] < sorted[j - 1]))
      throw std::invalid_argument("order must be a permutation that sorts start, got " + std::to_string(o) +
                                  " at position " + std::to_string(j));
  }
  return sorted;
}

void cut_into_tiles(Band& band, const std::vector<int64_t>& begin, const std::vector<int64_t>& end, int64_t inputs,
                    int most) {
  band.weights = 0;
  for (int64_t first = 0; first < band.outputs;) {
    int64_t last = first;
    while (last + 1 < band.outputs && last + 1 - first < most && begin[last + 1] <= end[first]) ++last;
    Tile tile{};
    tile.first = static_cast<int32_t>(first);
    tile.count = static_cast<int32_t>(last - first + 1);
    tile.input = static_cast<int32_t>(mod(begin[first], inputs));
    tile.main = static_cast<int32_t>(end[first] - begin[last]);
    tile.weight = band.weights;
    for (int64_t j = first; j < last; ++j) {
      tile.head[j - first] = static_cast<int32_t>(begin[j + 1] - begin[j]);
      tile.tail[j - first] = static_cast<int32_t>(end[j + 1] - end[j]);
    }
    for (int64_t j = first; j <= last; ++j) band.weights += end[j] - begin[j];
    band.tiles.push_back(tile);
    first = last + 1;
  }
}

}  // namespace

Band forward_band(const Windows& w, int outputs_per_tile) {
  Band band;
  band.inputs = w.in_channels;
  band.outputs = w.out_channels;
  const std::vector<int64_t> begin = sorted_starts(w);
  std::vector<int64_t> end(begin);
  for (int64_t& e : end) e += w.width;
  band.channel.assign(w.order, w.order + w.out_channels);
  for (int64_t c = 0; c < w.in_channels; ++c) band.position.push_back(static_cast<int32_t>(c));
  cut_into_tiles(band, begin, end, band.inputs, outputs_per_tile);
  band.begin = begin;
  band.end = end;
  band.rank.resize(band.outputs);
  for (int64_t j = 0; j < band.outputs; ++j) band.rank[band.channel[j]] = static_cast<int32_t>(j);
  return band;
}

Band in_pairs(const Band& band, int outputs_per_tile) {
  Band paired = band;
  std::vector<int64_t> begin(band.begin), end(band.end);
  for (int64_t j = 0; j < band.outputs; ++j) {
    const int64_t count = end[j] - begin[j];
    begin[j] = (begin[j] - mod(begin[j], 2)) / 2;
    end[j] = count == 0 ? begin[j] : (end[j] + mod(end[j], 2)) / 2;
  }
  for (int64_t j = 1; j < band.outputs; ++j) end[j] = std::max(end[j], end[j - 1]);  // an output of no inputs
  paired.tiles.clear();
  cut_into_tiles(paired, begin, end, band.inputs / 2, outputs_per_tile);
  return paired;
}

Band input_grad_band(const Windows& w, int outputs_per_tile) {
  Band band;
  band.inputs = w.out_channels;
  band.outputs = w.in_channels;
  const std::vector<int64_t> start = sorted_starts(w);
  band.start.assign(start.begin(), start.end());
  // upto[c]: how many starts are <= c. Channel c is read by the filters that start in (c - K, c], cyclically.
  std::vector<int64_t> upto(w.in_channels, 0), begin(w.in_channels), end(w.in_channels);
  for (int64_t s : start) ++upto[s];
  for (int64_t c = 1; c < w.in_channels; ++c) upto[c] += upto[c - 1];
  for (int64_t c = 0; c < w.in_channels; ++c) {
    const int64_t before = c - w.width;
    begin[c] = before >= 0 ? upto[before] : upto[before + w.in_channels] - w.out_channels;
    end[c] = upto[c];
    band.channel.push_back(static_cast<int32_t>(c));
  }
  band.position.resize(w.out_channels);
  for (int64_t j = 0; j < w.out_channels; ++j) band.position[w.order[j]] = static_cast<int32_t>(j);
  cut_into_tiles(band, begin, end, band.inputs, outputs_per_tile);
  band.begin = begin;
  band.end = end;
  return band;
}

}  // namespace multipath_gcn
