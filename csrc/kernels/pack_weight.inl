// The weights in the order in which the tiles of a band read them: for every step the weights of the active outputs.
// Forward: w[j, i] = weight[o, i]. Input gradient: output c, input o: weight[o, (c - start[o]) mod C].

template <typename T>
ISA_TARGET void pack_weight(const PackJob<T>& job, int64_t tile_begin, int64_t tile_end) {
  using A = Accumulator<T>;
  const Band& band = *job.band;
  const Windows& windows = *job.windows;
  for (int64_t t = tile_begin; t < tile_end; ++t) {
    const Tile& tile = band.tiles[t];
    A* to = job.packed + tile.weight;
    int64_t step = 0;
    const T* row[kMaxOutputs];  // forward: weight[o, 0] moved back to the step at which output m begins
    if (!job.transposed) {
      int64_t begin = 0;
      for (int m = 0; m < tile.count; ++m) {
        row[m] = job.weight + band.channel[tile.first + m] * job.filter_stride - begin * job.tap_stride;
        if (m + 1 < tile.count) begin += tile.head[m];
      }
    }
    const auto emit = [&](int first, int last, int64_t steps) {
      if (!job.transposed) {
        for (int64_t s = 0; s < steps; ++s, ++step)
          for (int m = first; m < last; ++m) *to++ = widen(row[m][step * job.tap_stride]);
        return;
      }
      for (int64_t s = 0; s < steps; ++s, ++step) {
        const int64_t o = windows.order[(tile.input + step) % band.inputs];
        const int64_t k = mod(tile.first + first - static_cast<int64_t>(windows.start[o]), windows.in_channels);
        const T* from = job.weight + o * job.filter_stride + k * job.tap_stride;
        for (int m = first; m < last; ++m, from += job.tap_stride) *to++ = widen(*from);
      }
    };
    for (int m = 0; m + 1 < tile.count; ++m) emit(0, m + 1, tile.head[m]);
    emit(0, tile.count, tile.main);
    for (int m = 0; m + 1 < tile.count; ++m) emit(m + 1, tile.count, tile.tail[m]);
  }
}

#if HAS_PAIR_DOT
// The same for a band in pairs: for every step and active output the weights of inputs 2 i and 2 i + 1, 0 outside a window.
ISA_TARGET inline void pack_pairs(const PackJob<BFloat16>& job, const Band& paired, Pair* to, int64_t tile_begin,
                                  int64_t tile_end) {
  const Band& band = *job.band;
  const Windows& windows = *job.windows;
  for (int64_t t = tile_begin; t < tile_end; ++t) {
    const Tile& tile = paired.tiles[t];
    Pair* out = to + tile.weight;
    const int64_t first_input = band.begin[tile.first] - mod(band.begin[tile.first], 2);
    int64_t i = first_input, wrapped = mod(i, band.inputs);  // the step's first input, and where it lies
    const auto emit = [&](int first, int last, int64_t steps) {
      for (; steps > 0; --steps, i += 2, wrapped = wrapped + 2 < band.inputs ? wrapped + 2 : wrapped + 2 - band.inputs) {
        int64_t filter[2] = {}, tap[2] = {};  // input gradient: of the two filters, the first active channel's tap
        if (job.transposed) {
          for (int h = 0; h < 2; ++h) {
            filter[h] = windows.order[wrapped + h];
            tap[h] = mod(tile.first + first - static_cast<int64_t>(windows.start[filter[h]]), windows.in_channels);
          }
        }
        for (int m = first; m < last; ++m) {
          const int64_t j = tile.first + m;
          uint32_t bits = 0;
          for (int h = 0; h < 2; ++h) {
            if (i + h < band.begin[j] || i + h >= band.end[j]) continue;
            int64_t o = band.channel[j], k = i + h - band.begin[j];
            if (job.transposed) {
              o = filter[h];
              k = tap[h] + (m - first);
              k = k < windows.in_channels ? k : k - windows.in_channels;
            }
            bits |= static_cast<uint32_t>(job.weight[o * job.filter_stride + k * job.tap_stride].bits) << 16 * h;
          }
          *out++ = {bits};
        }
      }
    };
    for (int m = 0; m + 1 < tile.count; ++m) emit(0, m + 1, tile.head[m]);
    emit(0, tile.count, tile.main);
    for (int m = 0; m + 1 < tile.count; ++m) emit(m + 1, tile.count, tile.tail[m]);
  }
}
#endif
