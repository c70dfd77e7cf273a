// A vertex's sums of one order for a vector of channels stay in registers while its edges pass, kMostWaves waves at a time.

constexpr int kMostWaves = 5;  // those of order 2; real and imaginary sums of so many fill 10 of 16 registers

template <typename T>
ISA_INLINE bool next_entry(const GaugeJob<T>& job, int64_t e, int64_t& row, int64_t& edge) {
  row = job.col[e];
  edge = job.edge ? job.edge[e] : e;
  return static_cast<uint64_t>(row) < static_cast<uint64_t>(job.columns) &&
         static_cast<uint64_t>(edge) < static_cast<uint64_t>(job.edges);
}

template <bool kWhole, typename T>
ISA_INLINE Vec<Accumulator<T>> load_lanes(const T* p, int64_t n) {
  return kWhole ? load(p) : load_some(p, n);
}

template <bool kWhole, typename T>
ISA_INLINE void store_lanes(T* p, Vec<Accumulator<T>> v, int64_t n) {
  if (kWhole) store(p, v);
  else store_some(p, v, n);
}

// Waves k to k + K of order m at the vertex, channels c to c + n.
template <int K, bool kTurns, bool kWhole, typename T>
ISA_INLINE bool sum_waves(const GaugeJob<T>& job, int64_t vertex, int64_t m, int64_t k, int64_t c, int64_t n) {
  using A = Accumulator<T>;
  const int64_t parts = 2 * job.order + 1, first = kTurns ? 2 * m - 1 : 0;
  Vec<A> re[K] = {}, im[kTurns ? K : 1] = {};
  for (int64_t e = job.rowptr[vertex]; e < job.rowptr[vertex + 1]; ++e) {
    int64_t row, edge;
    if (!next_entry(job, e, row, edge)) return false;
    const T* const from = job.x + (row * parts + first) * job.channels + c;
    Vec<A> a = load_lanes<kWhole>(from, n), b{};
    if (kTurns) {
      const A* const turn = job.turn + (edge * job.order + m - 1) * 2;
      const Vec<A> cos = broadcast(turn[0]), sin = broadcast(turn[1]);
      const Vec<A> given = a, other = load_lanes<kWhole>(from + job.channels, n);
      a = cos * given - sin * other;
      b = sin * given + cos * other;
    }
    const A* const wave = job.wave + edge * job.waves + k;
#pragma GCC unroll 5
    for (int i = 0; i < K; ++i) {
      const Vec<A> w = broadcast(wave[i]);
      multiply_add(re[i], w, a);
      if (kTurns) multiply_add(im[kTurns ? i : 0], w, b);
    }
  }
#pragma GCC unroll 5
  for (int i = 0; i < K; ++i) {
    T* const to = job.y + ((vertex * job.waves + k + i) * parts + first) * job.channels + c;
    store_lanes<kWhole>(to, re[i], n);
    if (kTurns) store_lanes<kWhole>(to + job.channels, im[kTurns ? i : 0], n);
  }
  return true;
}

template <bool kTurns, bool kWhole, typename T>
ISA_INLINE bool sum_all_waves(const GaugeJob<T>& job, int64_t vertex, int64_t m, int64_t c, int64_t n) {
  bool inside = true;
  for (int64_t k = 0; k < job.waves && inside; k += kMostWaves) {
    switch (std::min<int64_t>(kMostWaves, job.waves - k)) {
      case 1: inside = sum_waves<1, kTurns, kWhole>(job, vertex, m, k, c, n); break;
      case 2: inside = sum_waves<2, kTurns, kWhole>(job, vertex, m, k, c, n); break;
      case 3: inside = sum_waves<3, kTurns, kWhole>(job, vertex, m, k, c, n); break;
      case 4: inside = sum_waves<4, kTurns, kWhole>(job, vertex, m, k, c, n); break;
      default: inside = sum_waves<5, kTurns, kWhole>(job, vertex, m, k, c, n);
    }
  }
  return inside;
}

// The gradient of order m at the vertex, channels c to c + n.
template <bool kTurns, bool kWhole, typename T>
ISA_INLINE bool sum_back(const GaugeJob<T>& job, int64_t vertex, int64_t m, int64_t c, int64_t n) {
  using A = Accumulator<T>;
  const int64_t parts = 2 * job.order + 1, first = kTurns ? 2 * m - 1 : 0, step = parts * job.channels;
  Vec<A> re{}, im{};
  for (int64_t e = job.rowptr[vertex]; e < job.rowptr[vertex + 1]; ++e) {
    int64_t row, edge;
    if (!next_entry(job, e, row, edge)) return false;
    const T* from = job.x + (row * job.waves * parts + first) * job.channels + c;
    const A* const wave = job.wave + edge * job.waves;
    Vec<A> a{}, b{};
    for (int64_t k = 0; k < job.waves; ++k, from += step) {
      const Vec<A> w = broadcast(wave[k]);
      multiply_add(a, w, load_lanes<kWhole>(from, n));
      if (kTurns) multiply_add(b, w, load_lanes<kWhole>(from + job.channels, n));
    }
    if (kTurns) {
      const A* const turn = job.turn + (edge * job.order + m - 1) * 2;
      const Vec<A> cos = broadcast(turn[0]), sin = broadcast(turn[1]);
      re += cos * a + sin * b;
      im += cos * b - sin * a;
    } else {
      re += a;
    }
  }
  T* const to = job.y + (vertex * parts + first) * job.channels + c;
  store_lanes<kWhole>(to, re, n);
  if (kTurns) store_lanes<kWhole>(to + job.channels, im, n);
  return true;
}

template <bool kBack, bool kTurns, typename T>
ISA_INLINE bool one_order(const GaugeJob<T>& job, int64_t vertex, int64_t m) {
  constexpr int L = kLanes<Accumulator<T>>;
  bool inside = true;
  int64_t c = 0;
  for (; c + L <= job.channels && inside; c += L)
    inside = kBack ? sum_back<kTurns, true>(job, vertex, m, c, L) : sum_all_waves<kTurns, true>(job, vertex, m, c, L);
  const int64_t n = job.channels - c;
  if (n <= 0 || !inside) return inside;
  return kBack ? sum_back<kTurns, false>(job, vertex, m, c, n) : sum_all_waves<kTurns, false>(job, vertex, m, c, n);
}

template <bool kBack, typename T>
ISA_TARGET bool over_vertices(const GaugeJob<T>& job, int64_t row_begin, int64_t row_end) {
  for (int64_t vertex = row_begin; vertex < row_end; ++vertex) {
    const int64_t begin = job.rowptr[vertex], end = job.rowptr[vertex + 1];
    if (begin < 0 || begin > end || end > job.entries) return false;
    if (!one_order<kBack, false>(job, vertex, 0)) return false;
    for (int64_t m = 1; m <= job.order; ++m)
      if (!one_order<kBack, true>(job, vertex, m)) return false;
  }
  return true;
}
