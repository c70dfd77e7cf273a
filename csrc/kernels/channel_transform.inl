// The kernels of channel_transform.h for one instruction set: included by each channel_transform_<isa>.cpp inside its
// namespace, after ISA_TARGET, VECTOR_BYTES and TILE_OUTPUTS, TILE_VECTORS (what fits the registers) are defined.
//
//   out[j, p] = sum_i w[j, i] * in[begin[j] + i, p]     in: [inputs, columns]   w: packed, step by step   (band.h)
//
// Vectors run over points p; TILE_OUTPUTS x TILE_VECTORS sums stay in registers while the steps of a tile go by, each
// loading TILE_VECTORS vectors of one input and broadcasting one weight for every active output.

// How many of the vectors left to take next: as many as fit the registers, but rather 2 + 2 than 3 + 1.
inline int vectors_at_once(int64_t left) {
  if (left >= TILE_VECTORS + 2 || left == TILE_VECTORS) return TILE_VECTORS;
  return left == 1 ? 1 : 2;
}

// Steps during which the outputs First ... Last - 1 are active.
template <typename E, int M, int V, int First, int Last, typename W>
ISA_INLINE void steps(Vec<Accumulator<E>> (&sum)[M][V], int32_t count, const E*& in, const E* begin, const E* end,
                      int64_t columns, W& w) {
  using Operand = decltype(load(in));
  for (; count > 0; --count) {
    Operand x[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) x[v] = load(in + v * kLanes<Accumulator<E>>);
#pragma GCC unroll 8
    for (int m = First; m < Last; ++m) {
      const Operand weight = broadcast(w.template at<First>(m));
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) multiply_add(sum[m][v], weight, x[v]);
    }
    w.template next<Last - First>();
    in += columns;
    in = in == end ? begin : in;
  }
}

template <typename E, int M, int V, int Active = 1, typename W>
ISA_INLINE void head(Vec<Accumulator<E>> (&sum)[M][V], const Tile& tile, const E*& in, const E* begin, const E* end,
                     int64_t columns, W& w) {
  if constexpr (Active < M) {
    steps<E, M, V, 0, Active>(sum, tile.head[Active - 1], in, begin, end, columns, w);
    head<E, M, V, Active + 1>(sum, tile, in, begin, end, columns, w);
  }
}

template <typename E, int M, int V, int First = 1, typename W>
ISA_INLINE void tail(Vec<Accumulator<E>> (&sum)[M][V], const Tile& tile, const E*& in, const E* begin, const E* end,
                     int64_t columns, W& w) {
  if constexpr (First < M) {
    steps<E, M, V, First, M>(sum, tile.tail[First - 1], in, begin, end, columns, w);
    tail<E, M, V, First + 1>(sum, tile, in, begin, end, columns, w);
  }
}

template <typename E, typename W>
struct Block {  // V vectors of points of one tile of the band
  const Tile* tile;
  const E* in;  // row 0 of the buffer, at the block's first point
  int64_t inputs, columns;
  W weights;
  Accumulator<E> bias[kMaxOutputs];
  bool relu, stream;
};

template <typename E, typename T, int M, int V, typename W>
ISA_TARGET __attribute__((noinline)) void block(const Block<E, W>& b, T* const* out, int64_t valid) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const Tile& tile = *b.tile;
  const E *begin = b.in, *end = b.in + b.inputs * b.columns, *in = begin + tile.input * b.columns;
  W w = b.weights;
  Vec<A> sum[M][V];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[m][v] = broadcast(b.bias[m]);
  head<E, M, V>(sum, tile, in, begin, end, b.columns, w);
  steps<E, M, V, 0, M>(sum, tile.main, in, begin, end, b.columns, w);
  tail<E, M, V>(sum, tile, in, begin, end, b.columns, w);
  if (b.relu) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[m][v] = sum[m][v] < 0 ? Vec<A>{} : sum[m][v];  // NaN stays NaN, as in torch
  }
  if (b.stream && valid >= V * L) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) stream(out[m] + v * L, sum[m][v]);
  } else if (valid >= V * L) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store(out[m] + v * L, sum[m][v]);
  } else {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v)
        if (valid > v * L) store_some(out[m] + v * L, sum[m][v], valid - v * L < L ? valid - v * L : L);
  }
}

template <typename E, typename T, int V, int M = TILE_OUTPUTS, typename W>
ISA_INLINE void block_of(const Block<E, W>& b, T* const* out, int64_t valid) {
  if constexpr (M == 1) {
    block<E, T, 1, V>(b, out, valid);
  } else if (b.tile->count == M) {
    block<E, T, M, V>(b, out, valid);
  } else {
    block_of<E, T, V, M - 1>(b, out, valid);
  }
}

// All points of a run for one tile of the band; row[m] is where output m's points go.
template <typename T, typename E, typename W>
ISA_TARGET void tile_of(Block<E, W>& b, T** row, int64_t points, Prefetch& next) {
  constexpr int L = kLanes<Accumulator<T>>;
  // Streams begin at a whole vector of memory, as far into all rows as into one.
  const int64_t before = b.stream ? -(reinterpret_cast<intptr_t>(row[0]) / static_cast<intptr_t>(sizeof(T))) & (L - 1) : 0;
  for (int64_t p = 0; p < points;) {
    const int64_t left = p < before ? std::min<int64_t>(points, before) - p : points - p;
    const int vectors = vectors_at_once((left + L - 1) / L);
    if (vectors == TILE_VECTORS) {
      block_of<E, T, TILE_VECTORS>(b, row, left);
    } else if (vectors == 2) {
      block_of<E, T, 2>(b, row, left);
    } else {
      block_of<E, T, 1>(b, row, left);
    }
    next.fetch();
    const int64_t step = std::min<int64_t>(left, vectors * L);
    b.in += step;
    for (int m = 0; m < b.tile->count; ++m) row[m] += step;
    p += step;
  }
}

// One run of points, packed at `in`, through the tiles [first, last) of a band; `output` is a buffer like it. weights(tile)
// is where the tile's weights are.
template <typename T, typename E, typename Weights>
ISA_TARGET void run_tiles(const TransformJob<T>& job, const Band& band, int64_t inputs, const Weights& weights, const Run& run,
                          const E* in, Accumulator<T>* output, int64_t first, int64_t last, Prefetch& next) {
  using A = Accumulator<T>;
  const int64_t columns = job.points.columns;
  const int64_t used = (run.points() + kLanes<A> - 1) / kLanes<A> * kLanes<A>;
  const bool rows = job.out.rows(), whole = job.groups == 1, direct = !rows && run.images == 1;
  for (int64_t t = first; t < last; ++t) {
    const Tile& tile = band.tiles[t];
    const int32_t* channel = band.channel.data() + tile.first;
    Block<E, decltype(weights(tile))> b{&tile, in, inputs, columns, weights(tile), {}, job.relu, direct && job.stream};
    if (job.bias)
      for (int m = 0; m < tile.count; ++m) b.bias[m] = job.bias[channel[m]];
    if (direct) {
      T* row[kMaxOutputs];
      for (int m = 0; m < tile.count; ++m)
        row[m] = job.out.data + run.image * job.out.batch_stride + channel[m] * job.out.channel_stride + run.pixel;
      tile_of<T>(b, row, run.pixels, next);
    } else {
      A* row[kMaxOutputs];
      for (int m = 0; m < tile.count; ++m) row[m] = output + (rows && whole ? channel[m] : tile.first + m) * columns;
      tile_of<A>(b, row, used, next);
      if (!rows) unpack_planes(output + tile.first * columns, columns, run, channel, tile.count, job.out);
    }
  }
  if (rows && whole) unpack_rows(output, columns, run, job.out, job.stream);
  if (rows && !whole && first < last) {
    const int64_t begin = band.tiles[first].first, end = band.tiles[last - 1].first + band.tiles[last - 1].count;
    unpack_rows_of(output + begin * columns, columns, run, band.channel.data() + begin, end - begin, job.out);
  }
}

// The tiles of a band that some items read: those of their groups, or all where the items go over several runs of points.
struct TileRange {
  int64_t first, last;
  template <typename T>
  TileRange(const TransformJob<T>& job, const Band& band, int64_t item_begin, int64_t item_end) {
    const int64_t count = static_cast<int64_t>(band.tiles.size());
    const bool several = item_begin / job.groups != (item_end - 1) / job.groups;
    first = several ? 0 : count * (item_begin % job.groups) / job.groups;
    last = several ? count : count * ((item_end - 1) % job.groups + 1) / job.groups;
  }
};

// A thread that rearranges the weight does so for itself: sharing it takes a barrier, and costs more than it saves while
// the other threads' part has to come from their caches.
template <typename T>
ISA_TARGET void transform(const TransformJob<T>& job, int64_t item_begin, int64_t item_end) {
  using A = Accumulator<T>;
  const Band& band = *job.band;
  const int64_t columns = job.points.columns, buffers = columns * (2 * band.inputs + band.outputs);
  const int64_t own_weights = job.packed || job.weight_in_place ? 0 : band.weights + (job.paired ? job.paired->weights : 0);
  A* const packed_input = static_cast<A*>(scratch(sizeof(A) * (buffers + own_weights)));
  const A* const input = job.in_place ? job.in_place : packed_input;
  A* const output = packed_input + columns * band.inputs;
  Pair* const pairs = reinterpret_cast<Pair*>(output + columns * band.outputs);
  const A* weights = job.packed;
  const Pair* weight_pairs = job.packed_pairs;
  int64_t packed = -1;
  bool finite = false;
  for (int64_t item = item_begin; item < item_end; ++item) {
    const int64_t index = item / job.groups, group = item % job.groups;
    const Run run = run_of(job.points, index, job.in.batch, job.in.pixels);
    if (packed != index) {
      if (!job.in_place) pack_points(job.in, run, band.position.data(), columns, packed_input);
      if constexpr (HAS_PAIR_DOT && std::is_same_v<T, BFloat16>)
        finite = job.paired && pair_up(input, band.inputs, columns, pairs);
      packed = index;
    }
    const Band& used = finite ? *job.paired : band;
    const int64_t count = static_cast<int64_t>(used.tiles.size());
    Prefetch next{};
    const int64_t calls = count * ((run.points() + TILE_VECTORS * kLanes<A> - 1) / (TILE_VECTORS * kLanes<A>));
    if (job.ahead.pieces > 0) {
      next = Prefetch(job.ahead, calls);
    } else if (item + 1 < item_end && job.groups == 1) {
      next = Prefetch(job.in, run_of(job.points, index + 1, job.in.batch, job.in.pixels), calls);
    }
    const int64_t first = count * group / job.groups, last = count * (group + 1) / job.groups;
    if constexpr (HAS_PAIR_DOT && std::is_same_v<T, BFloat16>) {
      if (finite) {
        if (!weight_pairs) {
          const TileRange needed(job, used, item_begin, item_end);
          Pair* const own = reinterpret_cast<Pair*>(packed_input + buffers + band.weights);
          pack_pairs(job.weight, band, used, own, needed.first, needed.last);
          weight_pairs = own;
        }
        const auto at = [&](const Tile& tile) { return PackedSteps<Pair>(weight_pairs, tile); };
        run_tiles<T, Pair>(job, used, band.inputs / 2, at, run, pairs, output, first, last, next);
        continue;
      }
    }
    if constexpr (std::is_same_v<T, A>) {
      if (job.weight_in_place) {
        const auto row = [&](const Tile& tile) { return FilterRows<A>(job.weight.weight, band, tile); };
        const auto tap = [&](const Tile& tile) { return FilterTaps<A>(job.weight, band, tile); };
        if (job.weight.transposed) run_tiles<T, A>(job, band, band.inputs, tap, run, input, output, first, last, next);
        else run_tiles<T, A>(job, band, band.inputs, row, run, input, output, first, last, next);
        continue;
      }
    }
    if (!weights) {
      const TileRange needed(job, band, item_begin, item_end);
      pack_weight(job.weight, band, packed_input + buffers, needed.first, needed.last);
      weights = packed_input + buffers;
    }
    const auto at = [&](const Tile& tile) { return PackedSteps<A>(weights, tile); };
    run_tiles<T, A>(job, used, band.inputs, at, run, input, output, first, last, next);
  }
}
