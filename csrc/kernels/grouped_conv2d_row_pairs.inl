// Columns and those beside them, 2 j and 2 j + 1, of gradients by images: what is read serves both, and whole rows are stored.

constexpr int64_t kPairFilters = 2;  // at once, at most

// Of what column s of the weights reads.
template <bool FIRST, bool BESIDE, int K, int N, int V, typename T>
ISA_INLINE void pair_products(const T* const (&line)[N], int64_t offset, const Between* lanes, int64_t columns,
                              const Accumulator<T>* weight, Vec<Accumulator<T>> (&sum)[N][2][K][V]) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    Vec<A> x[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) x[v] = load_between(line[i] + offset + v * L, lanes[v * columns]);
    if constexpr (FIRST) add_products<K, V>(sum[i][0], weight, x);
    if constexpr (BESIDE) add_products<K, V>(sum[i][1], weight + K, x);
  }
}

template <int K, int N, int V, typename T>
ISA_TARGET void pair_tile(const ConvJob<T>& job, const RowsSource<T>& of, const RowMasks<Accumulator<T>>& masks,
                          int64_t first_row, int64_t rows, int64_t first_vector) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const Between* const lanes = masks.lanes.data() + first_vector * masks.columns;
  const A* weight = of.weight;
  Vec<A> sum[N][2][K][V] = {};
  for (int64_t c = 0; c < pass.channels; ++c) {
    const T* const plane = of.x + c * job.x.channel_stride;
    for (const Step& r : pass.steps[0]) {
      const T* line[N];
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i)
        line[i] = of.line(job, plane, (first_row + i) * pass.read_step[0] + r.offset) + first_vector * L;
      for (int64_t s = 0; s < masks.columns; ++s, weight += 2 * K) {
        const Step& step = pass.steps[1][s];
        if (pass.beside[s] < 0) pair_products<true, false, K>(line, step.offset, lanes + s, masks.columns, weight, sum);
        else if (step.k < 0) pair_products<false, true, K>(line, step.offset, lanes + s, masks.columns, weight, sum);
        else pair_products<true, true, K>(line, step.offset, lanes + s, masks.columns, weight, sum);
      }
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k) {
    T* const out = of.y + k * job.y.channel_stride + 2 * first_vector * L;
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      if (i >= rows) break;
      T* const to = out + (pass.first[0] + (first_row + i) * pass.step[0]) * job.y.row_stride;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const Vec<A> first = sum[i][0][k][v], beside = sum[i][1][k][v];
        const int64_t left = job.y.width - 2 * (first_vector + v) * L;
        T* const at = to + 2 * v * L;
        if (left >= 2 * L) {
          store(at, weave<A, 0>(first, beside));
          store(at + L, weave<A, L / 2>(first, beside));
        } else {
          store_some(at, weave<A, 0>(first, beside), std::min<int64_t>(L, left));
          if (left > L) store_some(at + L, weave<A, L / 2>(first, beside), left - L);
        }
      }
    }
  }
}

template <int K, typename T>
ISA_INLINE void pair_tiles(const ConvJob<T>& job, const RowsSource<T>& of, const RowMasks<Accumulator<T>>& masks,
                           int64_t first_row, int64_t rows) {
  constexpr int N1 = kTileRows<2 * K, 1>, N2 = kTileRows<2 * K, 2>;
  const int64_t vectors = (job.pass->size[1] + kLanes<Accumulator<T>> - 1) / kLanes<Accumulator<T>>;
  for (int64_t i = 0; i < rows; i += N2)
    for (int64_t v = 0; v + 1 < vectors; v += 2)
      pair_tile<K, N2, 2>(job, of, masks, first_row + i, std::min<int64_t>(N2, rows - i), v);
  if (vectors % 2)
    for (int64_t i = 0; i < rows; i += N1)
      pair_tile<K, N1, 1>(job, of, masks, first_row + i, std::min<int64_t>(N1, rows - i), vectors - 1);
}
