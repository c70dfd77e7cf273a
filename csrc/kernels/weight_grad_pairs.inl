// dweight[o, k] = sum_p grad[o, p] * x[(start[o] + k) mod C, p], vectors over points p: for narrow windows and for planes,
// which are read in place where their images are whole vectors, and packed with points side by side elsewhere. A block of kFilters sorted filters x kChannels channels keeps one vector of partial sums per pair; summing each
// over its lanes gives one vector with all pairs of the block, which is added to the chunk's partial sums.

template <typename A>
constexpr int kFilters = kLanes<A> >= 8 ? 4 : 2;
template <typename A>
constexpr int kChannels = kLanes<A> / kFilters<A>;

// Where the points of a channel lie: `pieces` runs of `points`, a multiple of the lanes, `stride` apart.
template <typename E>
struct Lines {
  const E* data;
  int64_t channel_stride, stride;
  const E* channel(int64_t c) const { return data + c * channel_stride; }
};

template <typename E>
ISA_TARGET __attribute__((noinline)) Vec<Accumulator<E>> pair_sums(const E* const* filter, const E* const* channel,
                                                                   int64_t pieces, int64_t points, int64_t filter_stride,
                                                                   int64_t channel_stride) {
  using A = Accumulator<E>;
  constexpr int F = kFilters<A>, C = kChannels<A>, L = kLanes<A>;
  Vec<A> sum[L] = {};
  for (int64_t piece = 0; piece < pieces; ++piece) {
    for (int64_t p = 0; p < points; p += kPointsPerVector<E>) {
      decltype(load_points(filter[0])) g[F], x[C];
#pragma GCC unroll 4
      for (int f = 0; f < F; ++f) g[f] = load_points(filter[f] + piece * filter_stride + p);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) x[c] = load_points(channel[c] + piece * channel_stride + p);
#pragma GCC unroll 4
      for (int f = 0; f < F; ++f)
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) multiply_add(sum[f * C + c], g[f], x[c]);
    }
  }
  return sum_each<A>(sum);
}

// Both operands of the next run, brought nearer while this one is computed.
struct Ahead {
  Prefetch x, grad;
  Ahead() = default;
  template <typename T>
  Ahead(const WeightGradJob<T>& job, const Run& next, int64_t calls) : x(job.x, next, calls), grad(job.grad, next, calls) {}
  void fetch() {
    x.fetch();
    grad.fetch();
  }
};

inline int64_t union_width(const Tile& tile) {
  int64_t width = tile.main;
  for (int m = 0; m + 1 < tile.count; ++m) width += tile.head[m] + tile.tail[m];
  return width;
}

// Blocks of a tile of the band: one per kChannels channels of the union of its windows.
template <typename A>
inline int64_t blocks_of(const Tile& tile) {
  return (union_width(tile) + kChannels<A> - 1) / kChannels<A>;
}

template <typename T>
int64_t pairs_size(const Band& band) {
  int64_t blocks = 0;
  for (const Tile& tile : band.tiles) blocks += blocks_of<Accumulator<T>>(tile);
  return blocks * kLanes<Accumulator<T>>;
}

template <typename T>
ISA_INLINE Vec<Accumulator<T>> sum_of_chunks(const WeightGradJob<T>& job, int64_t place) {
  Vec<Accumulator<T>> sum{};
  const Accumulator<T>* from = job.partial + place;
  for (int64_t chunk = 0; chunk < job.chunks; ++chunk, from += job.partial_stride) sum += load(from);
  return sum;
}

// The blocks of the tiles [tile_begin, tile_end) of the band, over one run of points, the first of a chunk or a later one.
template <typename E>
ISA_TARGET void add_blocks(const Band& band, int64_t tile_begin, int64_t tile_end, const Lines<E>& x, const Lines<E>& grad,
                           const int32_t* channel_of_filter, int64_t pieces, int64_t points, Accumulator<E>* to, bool first,
                           Ahead& next) {
  using A = Accumulator<E>;
  constexpr int F = kFilters<A>, C = kChannels<A>, L = kLanes<A>;
  for (int64_t t = tile_begin; t < tile_end; ++t) {
    const Tile& tile = band.tiles[t];
    const E* filter[F];
    for (int f = 0; f < F; ++f) {
      const int64_t j = tile.first + (f < tile.count ? f : 0);
      filter[f] = grad.channel(channel_of_filter ? channel_of_filter[j] : j);
    }
    const int64_t width = union_width(tile);
    for (int64_t step = 0; step < width; step += C, to += L) {
      const E* channel[C];
      for (int c = 0; c < C; ++c) channel[c] = x.channel((tile.input + (step + c < width ? step + c : step)) % band.inputs);
      next.fetch();
      const Vec<A> sums = pair_sums<E>(filter, channel, pieces, points, grad.stride, x.stride);
      store(to, first ? sums : load(to) + sums);
    }
  }
}

template <typename T>
ISA_TARGET void pairs(const WeightGradJob<T>& job, int64_t item_begin, int64_t item_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const Band& band = *job.band;
  const int64_t columns = job.points.columns, tiles = static_cast<int64_t>(band.tiles.size());
  using Packed = PackedPoint<T>;
  const int64_t packed = job.in_place ? 0 : columns * (band.inputs + band.outputs);
  Packed* const x = static_cast<Packed*>(scratch(sizeof(Packed) * packed));
  Packed* const grad = x + columns * band.inputs;
  for (int64_t item = item_begin; item < item_end; ++item) {
    const int64_t chunk = item / job.groups, group = item % job.groups;
    const int64_t first = tiles * group / job.groups, last = tiles * (group + 1) / job.groups;
    int64_t begin = 0, blocks = 0;
    for (int64_t t = 0; t < first; ++t) begin += blocks_of<A>(band.tiles[t]);
    for (int64_t t = first; t < last; ++t) blocks += blocks_of<A>(band.tiles[t]);
    A* const partial = job.partial + chunk * job.partial_stride + begin * L;
    const int64_t index_begin = job.points.count * chunk / job.chunks, index_end = job.points.count * (chunk + 1) / job.chunks;
    for (int64_t index = index_begin; index < index_end; ++index) {
      const bool nothing_yet = index == index_begin;
      const Run run = run_of(job.points, index, job.x.batch, job.x.pixels);
      Ahead next{};
      if (index + 1 < index_end)
        next = Ahead(job, run_of(job.points, index + 1, job.x.batch, job.x.pixels), blocks);
      if (job.in_place) {
        const Lines<T> from_x{job.x.data + run.image * job.x.batch_stride + run.pixel, job.x.channel_stride, job.x.batch_stride};
        const Lines<T> from_grad{job.grad.data + run.image * job.grad.batch_stride + run.pixel, job.grad.channel_stride,
                                 job.grad.batch_stride};
        add_blocks<T>(band, first, last, from_x, from_grad, band.channel.data(), run.images, run.pixels, partial, nothing_yet, next);
        continue;
      }
      constexpr int64_t step = kPointsPerVector<T>;
      const int64_t used = (run.points() + step - 1) / step * step;
      pack_narrow(job.x, run, band.position.data(), columns, used, x);
      pack_narrow(job.grad, run, band.rank.data(), columns, used, grad);
      add_blocks<Packed>(band, first, last, Lines<Packed>{x, columns, 0}, Lines<Packed>{grad, columns, 0}, nullptr, 1, used,
                         partial, nothing_yet, next);
    }
  }
}

// dweight from the chunks' partial sums, added in their order: a block's channels are taps of each of its filters.
template <typename T>
ISA_TARGET void finish_pairs(const WeightGradJob<T>& job, int64_t tile_begin, int64_t tile_end) {
  using A = Accumulator<T>;
  constexpr int C = kChannels<A>, L = kLanes<A>;
  int64_t block = 0;
  for (int64_t t = 0; t < tile_begin; ++t) block += blocks_of<A>(job.band->tiles[t]);
  for (int64_t t = tile_begin; t < tile_end; ++t) {
    const Tile& tile = job.band->tiles[t];
    T* to[kFilters<A>];  // weight_grad[o, 0] moved back to the first channel of the tile
    int64_t begin[kFilters<A>] = {};
    for (int m = 0; m < tile.count; ++m) {
      to[m] = job.weight_grad + job.band->channel[tile.first + m] * job.width - begin[m];
      if (m + 1 < tile.count) begin[m + 1] = begin[m] + tile.head[m];
    }
    const int64_t width = union_width(tile);
    for (int64_t step = 0; step < width; step += C, ++block) {
      T sums[L];
      store(sums, sum_of_chunks(job, block * L));
      for (int m = 0; m < tile.count; ++m) {
        const int64_t first = std::max(step, begin[m]), last = std::min(step + C, begin[m] + job.width);
        for (int64_t k = first; k < last; ++k) to[m][k] = sums[m * C + k - step];
      }
    }
  }
}
