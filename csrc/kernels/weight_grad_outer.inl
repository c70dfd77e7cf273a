// dweight[o, k] = sum_p grad[o, p] * x[(start[o] + k) mod C, p], vectors over channels: for wide windows. The channels that
// a tile of sorted filters reads are covered by vectors; TILE_OUTPUTS x TILE_VECTORS sums stay in registers while the
// points go by, each loading TILE_VECTORS vectors of its row of x and broadcasting one gradient for every filter. Lanes
// outside a filter's window are computed and left out of the result. x: rows, in place or packed; grad: packed,
// [filter][kOuterColumns].

constexpr int64_t kOuterPoints = 256, kOuterColumns = kOuterPoints + 16;  // not a power of two: rows would share few cache sets

// Channels of one point, or, of pairs, of two neighbouring points; `more` is false where there is no second one.
template <typename E>
ISA_INLINE auto load_channels(const E* row, int64_t row_stride, bool more) {
#if HAS_PAIR_DOT
  if constexpr (sizeof(E) == 2) {
    const Word low = reinterpret_cast<Word>(load(row)) >> 16;
    return more ? low | reinterpret_cast<Word>(load(row + row_stride)) : low;
  } else {
    return load(row);
  }
#else
  return (void)row_stride, (void)more, load(row);
#endif
}

// Gradients of one filter at one point, or at a pair of points.
template <typename E>
ISA_INLINE auto broadcast_points(const E* p) {
#if HAS_PAIR_DOT
  if constexpr (sizeof(E) == 2) {
    Pair pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return broadcast(pair);
  } else {
    return broadcast(*p);
  }
#else
  return broadcast(*p);
#endif
}

// E: the rows' type; G: the packed gradient's.
template <typename E, typename G, int M, int V>
ISA_TARGET __attribute__((noinline)) void outer_block(const G* grad, const E* const* x, int64_t row_stride, int64_t points,
                                                      Accumulator<E>* partial, bool first) {
  using A = Accumulator<E>;
  constexpr int step = HAS_PAIR_DOT && sizeof(G) == 2 ? 2 : 1;
  Vec<A> sum[V][M] = {};
  const E* row[V];
  for (int v = 0; v < V; ++v) row[v] = x[v];
  for (int64_t p = 0; p < points; p += step) {
    decltype(load_channels(row[0], row_stride, true)) channel[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) channel[v] = load_channels(row[v], row_stride, p + step <= points);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const auto g = broadcast_points(grad + m * kOuterColumns + p);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) multiply_add(sum[v][m], g, channel[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) row[v] += step * row_stride;
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      A* to = partial + (v * M + m) * kLanes<A>;
      store(to, first ? sum[v][m] : load(to) + sum[v][m]);
    }
}

template <typename E, typename G, int V, int M = TILE_OUTPUTS>
ISA_INLINE void outer_block_of(int count, const G* grad, const E* const* x, int64_t row_stride, int64_t points,
                               Accumulator<E>* partial, bool first) {
  if constexpr (M == 1) {
    outer_block<E, G, 1, V>(grad, x, row_stride, points, partial, first);
  } else if (count == M) {
    outer_block<E, G, M, V>(grad, x, row_stride, points, partial, first);
  } else {
    outer_block_of<E, G, V, M - 1>(count, grad, x, row_stride, points, partial, first);
  }
}

// The vectors that cover the channels read by a tile: those from its first channel up to the last of all, and, where the
// union of its windows wraps, those from channel 0. The last of either part may overlap its neighbour; channels >= lanes.
struct Cover {
  int64_t channels, lanes, begin, straight, wrapped;  // channels before and after the wrap
  Cover(const Tile& tile, int64_t channels, int64_t lanes) : channels(channels), lanes(lanes), begin(tile.input) {
    const int64_t width = std::min(union_width(tile), channels);
    straight = std::min(width, channels - begin);
    wrapped = width - straight;
  }
  int64_t before_wrap() const { return (straight + lanes - 1) / lanes; }
  int64_t vectors() const { return before_wrap() + (wrapped + lanes - 1) / lanes; }
  int64_t start(int64_t vector) const {
    const int64_t first = vector < before_wrap() ? begin + vector * lanes : (vector - before_wrap()) * lanes;
    return std::min(first, channels - lanes);
  }
  int64_t vector_of(int64_t channel) const {
    const bool straight_part = begin <= channel && channel < begin + straight;
    return straight_part ? (channel - begin) / lanes : before_wrap() + channel / lanes;
  }
};

template <typename T>
int64_t outer_size(const Band& band) {
  int64_t vectors = 0;
  for (const Tile& tile : band.tiles) vectors += Cover(tile, band.inputs, kLanes<Accumulator<T>>).vectors() * tile.count;
  return vectors * kLanes<Accumulator<T>>;
}

template <typename E, typename G>
ISA_TARGET void add_outer(const Band& band, int64_t tile_begin, int64_t tile_end, const E* x, int64_t row_stride,
                          const G* grad, int64_t points, Accumulator<E>* to, bool first, Ahead& next) {
  using A = Accumulator<E>;
  constexpr int L = kLanes<A>;
  for (int64_t t = tile_begin; t < tile_end; ++t) {
    const Tile& tile = band.tiles[t];
    const Cover cover(tile, band.inputs, L);
    const G* const g = grad + tile.first * kOuterColumns;
    for (int64_t v = 0, vectors = cover.vectors(); v < vectors;) {
      const int count = vectors_at_once(vectors - v);
      const E* rows[TILE_VECTORS];
      for (int i = 0; i < count; ++i) rows[i] = x + cover.start(v + i);
      if (count == TILE_VECTORS) {
        outer_block_of<E, G, TILE_VECTORS>(tile.count, g, rows, row_stride, points, to, first);
      } else if (count == 2) {
        outer_block_of<E, G, 2>(tile.count, g, rows, row_stride, points, to, first);
      } else {
        outer_block_of<E, G, 1>(tile.count, g, rows, row_stride, points, to, first);
      }
      next.fetch();
      to += count * tile.count * L;
      v += count;
    }
  }
}

template <typename T>
ISA_TARGET void outer(const WeightGradJob<T>& job, int64_t item_begin, int64_t item_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const Band& band = *job.band;
  const int64_t tiles = static_cast<int64_t>(band.tiles.size()), row_stride = band.inputs + L;
  using Packed = PackedPoint<T>;
  const int64_t most = std::max(band.inputs, band.outputs);
  A* const wide = static_cast<A*>(scratch(sizeof(A) * kOuterColumns * (most + band.outputs + row_stride)));
  Packed* const grad = reinterpret_cast<Packed*>(wide + kOuterColumns * most);
  Packed* const rows = grad + kOuterColumns * band.outputs;
  for (int64_t item = item_begin; item < item_end; ++item) {
    const int64_t chunk = item / job.groups, group = item % job.groups;
    const int64_t first = tiles * group / job.groups, last = tiles * (group + 1) / job.groups;
    int64_t begin = 0, size = 0;
    for (int64_t t = 0; t < last; ++t) {
      const int64_t here = Cover(band.tiles[t], band.inputs, L).vectors() * band.tiles[t].count * L;
      (t < first ? begin : size) += here;
    }
    A* const partial = job.partial + chunk * job.partial_stride + begin;
    const int64_t index_end = job.points.count * (chunk + 1) / job.chunks;
    const int64_t index_begin = job.points.count * chunk / job.chunks;
    for (int64_t index = index_begin; index < index_end; ++index) {
      const bool nothing_yet = index == index_begin;
      const Run run = run_of(job.points, index, job.x.batch, job.x.pixels);
      Ahead next{};
      if (index + 1 < index_end)
        next = Ahead(job, run_of(job.points, index + 1, job.x.batch, job.x.pixels), size / L / TILE_OUTPUTS / TILE_VECTORS + 1);
      constexpr int64_t step = kPointsPerVector<T>;
      pack_narrow(job.grad, run, band.rank.data(), kOuterColumns, (run.points() + step - 1) / step * step, grad);
      if (job.in_place) {
        const T* x = job.x.data + run.image * job.x.batch_stride + run.pixel * job.x.pixel_stride;
        add_outer<T>(band, first, last, x, job.x.pixel_stride, grad, run.pixels, partial, nothing_yet, next);
        continue;
      }
      if (!job.x.rows() && run.pixels % L == 0) {
        rows_from_images(job.x, run, rows, row_stride);
      } else {
        pack_points(job.x, run, band.position.data(), kOuterColumns, wide);
        rows_from_planes(wide, band.inputs, kOuterColumns, run.points(), rows, row_stride);
      }
      add_outer<Packed>(band, first, last, rows, row_stride, grad, run.points(), partial, nothing_yet, next);
    }
  }
}

// dweight from the chunks' partial sums, added in their order: a filter's window is cut where another vector covers it.
template <typename T>
ISA_TARGET void finish_outer(const WeightGradJob<T>& job, int64_t tile_begin, int64_t tile_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const Band& band = *job.band;
  int64_t before = 0;
  for (int64_t t = 0; t < tile_end; ++t) {
    const Tile& tile = band.tiles[t];
    const Cover cover(tile, band.inputs, L);
    if (t >= tile_begin) {
      int64_t begin = tile.input;
      for (int m = 0; m < tile.count; ++m) {
        T* to = job.weight_grad + band.channel[tile.first + m] * job.width;
        for (int64_t k = 0; k < job.width;) {
          const int64_t c = (begin + k) % band.inputs, vector = cover.vector_of(c), lane = c - cover.start(vector);
          const int64_t count = std::min(L - lane, job.width - k);
          const Vec<A> sum = sum_of_chunks(job, before + (vector * tile.count + m) * L);
          if (count == L) {
            store(to + k, sum);
          } else {
            T lanes[L];
            store(lanes, sum);
            __builtin_memcpy(to + k, lanes + lane, count * sizeof(T));
          }
          k += count;
        }
        if (m + 1 < tile.count) begin += tile.head[m];
      }
    }
    before += cover.vectors() * tile.count * L;
  }
}
