// The weights in the order in which the tiles of a band read them: for every step the weights of the active outputs.
// Forward: w[j, i] = weight[o, i]. Input gradient: output c, input o: weight[o, (c - start[o]) mod C].

// Steps with all outputs active, a vector of them at a time: turned by a transpose. Returns how many steps it did.
template <typename T>
ISA_TARGET int64_t pack_blocks(const T* const* row, int64_t step, int64_t steps, Accumulator<T>* to) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>, M = TILE_OUTPUTS;
  if constexpr (L < M || L > 2 * M) {  // a store must not reach past the step after
    return 0;
  } else {
    int64_t done = 0;
    for (; done + L <= steps; done += L, to += L * M) {
      Vec<A> v[L];
#pragma GCC unroll 16
      for (int m = 0; m < L; ++m) v[m] = m < M ? load(row[m] + step + done) : Vec<A>{};
      transpose<A>(v);
      A last[L];
#pragma GCC unroll 16
      for (int s = 0; s + 1 < L; ++s) store(to + s * M, v[s]);  // lanes past M are written over by the next step
      store(last, v[L - 1]);
      __builtin_memcpy(to + (L - 1) * M, last, M * sizeof(A));
    }
    return done;
  }
}

template <typename T>
ISA_TARGET void pack_weight(const PackJob<T>& job, const Band& band, Accumulator<T>* packed, int64_t tile_begin,
                            int64_t tile_end) {
  using A = Accumulator<T>;
  const Windows& windows = *job.windows;
  const Weight<T> weight = job.weight;
  for (int64_t t = tile_begin; t < tile_end; ++t) {
    const Tile& tile = band.tiles[t];
    A* to = packed + tile.weight;
    int64_t step = 0;
    const T* row[kMaxOutputs];  // forward: weight[o, 0] moved back to the step at which output m begins
    if (!job.transposed) {
      int64_t begin = 0;
      for (int m = 0; m < tile.count; ++m) {
        row[m] = weight.data + band.channel[tile.first + m] * weight.filter_stride - begin * weight.tap_stride;
        if (m + 1 < tile.count) begin += tile.head[m];
      }
    }
    int64_t input = tile.input;
    const auto emit = [&](int first, int last, int64_t steps) {
      if (!job.transposed) {
        if (first == 0 && last == TILE_OUTPUTS && weight.tap_stride == 1) {
          const int64_t blocks = pack_blocks(row, step, steps, to);
          step += blocks, steps -= blocks, to += blocks * TILE_OUTPUTS;
        }
        for (int64_t s = 0; s < steps; ++s, ++step)
          for (int m = first; m < last; ++m) *to++ = widen(row[m][step * weight.tap_stride]);
        return;
      }
      for (int64_t s = 0; s < steps; ++s) {
        const int64_t o = windows.order[input];
        int64_t k = tile.first + first - static_cast<int64_t>(windows.start[o]);
        if (k < 0 || k >= windows.in_channels) k = mod(k, windows.in_channels);
        const T* from = weight.data + o * weight.filter_stride + k * weight.tap_stride;
        if (last - first == TILE_OUTPUTS && weight.tap_stride == 1) {
          A wide[TILE_OUTPUTS];  // read before the first is written: one vector
#pragma GCC unroll 8
          for (int m = 0; m < TILE_OUTPUTS; ++m) wide[m] = widen(from[m]);
          __builtin_memcpy(to, wide, sizeof wide);
          to += TILE_OUTPUTS;
        } else {
          for (int m = first; m < last; ++m, from += weight.tap_stride) *to++ = widen(*from);
        }
        input = input + 1 < band.inputs ? input + 1 : 0;
      }
    };
    for (int m = 0; m + 1 < tile.count; ++m) emit(0, m + 1, tile.head[m]);
    emit(0, tile.count, tile.main);
    for (int m = 0; m + 1 < tile.count; ++m) emit(m + 1, tile.count, tile.tail[m]);
  }
}

#if HAS_PAIR_DOT
// The same for a band in pairs: for every step and active output the weights of inputs 2 i and 2 i + 1, 0 outside a window.
ISA_TARGET inline void pack_pairs(const PackJob<BFloat16>& job, const Band& band, const Band& paired, Pair* to,
                                  int64_t tile_begin, int64_t tile_end) {
  const Windows& windows = *job.windows;
  const Weight<BFloat16> weight = job.weight;
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
            bits |= static_cast<uint32_t>(weight.data[o * weight.filter_stride + k * weight.tap_stride].bits) << 16 * h;
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
