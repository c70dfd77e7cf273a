// Where the steps of a tile find the weights of their active outputs: at<First>(m) is output m's while First ... are active,
// next<Active>() goes on to the step after.

template <typename E>
struct PackedSteps {  // pack_weight.inl
  const E* w;

  ISA_TARGET PackedSteps(const E* packed, const Tile& tile) : w(packed + tile.weight) {}
  template <int First>
  ISA_INLINE E at(int m) const {
    return w[m - First];
  }
  template <int Active>
  ISA_INLINE void next() {
    w += Active;
  }
};

// Where points are so few that a weight is read about once, it is read where it lies, its taps side by side.
// Forward: every output has its own row.
template <typename E>
struct FilterRows {
  const E* row[kMaxOutputs];  // moved back to the tile's first step
  int64_t step = 0;

  ISA_TARGET FilterRows(const Weight<E>& weight, const Band& band, const Tile& tile) {
    int64_t begin = 0;
    for (int m = 0; m < tile.count; ++m) {
      row[m] = weight.data + band.channel[tile.first + m] * weight.filter_stride - begin;
      if (m + 1 < tile.count) begin += tile.head[m];
    }
  }
  template <int First>
  ISA_INLINE E at(int m) const {
    return row[m][step];
  }
  template <int Active>
  ISA_INLINE void next() {
    ++step;
  }
};

// Input gradient: the outputs of a step are neighbouring taps of one filter.
template <typename E>
struct FilterTaps {
  const E* weight;  // of the tile's first output in a window from channel 0
  const E* from;    // at this step
  const int32_t *filter, *start;
  int64_t filter_stride, input, inputs, channels;

  ISA_TARGET FilterTaps(const PackJob<E>& job, const Band& band, const Tile& tile)
      : weight(job.weight.data + tile.first), filter(job.windows->order), start(band.start.data()),
        filter_stride(job.weight.filter_stride), input(tile.input), inputs(band.inputs), channels(band.outputs) {
    if (band.begin[tile.first] < 0) weight += channels;  // these windows reach the tile past the last channel
    find();
  }
  template <int First>
  ISA_INLINE E at(int m) const {
    return from[m];
  }
  template <int Active>
  ISA_INLINE void next() {
    if (++input == inputs) input = 0, weight -= channels;
    find();
  }
  ISA_INLINE void find() { from = weight + filter[input] * filter_stride - start[input]; }
};
