// y[i, f] = drop(relu(bias[f] + scale row_scale[i] sum_j weight[e] col_scale[j] kept[j, f] x[j, f])). A row's sum for kPass
// features stays in registers while its entries pass; rows of x that come kAheadBytes of them later are fetched meanwhile,
// into the second cache: the first one of Zen 4 has room for 24 lines on their way, so that fetches into it wait for each
// other.

constexpr int kAheadBytes = 8192;
constexpr int kMostVectors = 8;  // sums in registers at once

// The value of an entry without row_scale.
template <typename A, typename I>
ISA_INLINE A factor(const Csr<A, I>& matrix, int64_t e, int64_t j) {
  A a = matrix.weight ? matrix.weight[e] : A{1};
  return matrix.col_scale ? a * matrix.col_scale[j] : a;
}

template <typename A, typename I>
ISA_INLINE bool row_is_inside(const Csr<A, I>& matrix, int64_t begin, int64_t end) {
  return 0 <= begin && begin <= end && end <= matrix.entries;
}

template <typename I>
ISA_INLINE bool is_inside(I j, int64_t columns) {
  return static_cast<std::make_unsigned_t<I>>(j) < static_cast<uint64_t>(columns);
}

// What a later entry reads of a row of x, and its column's scale. Its index is not yet checked: no pointer is formed.
template <int Bytes, typename T, typename I>
ISA_INLINE void fetch(const T* x, int64_t stride, const Csr<Accumulator<T>, I>& matrix, int64_t e) {
  constexpr int64_t kAhead = std::max(1, kAheadBytes / Bytes);
  if (e + kAhead >= matrix.entries) return;
  const auto j = static_cast<uint64_t>(matrix.col[e + kAhead]);
  const auto line = reinterpret_cast<uintptr_t>(x) + j * stride * sizeof(T);
#pragma GCC unroll 8
  for (int b = 0; b < Bytes; b += 64) __builtin_prefetch(reinterpret_cast<const void*>(line + b), 0, 2);
  if (!matrix.col_scale) return;
  const auto scale = reinterpret_cast<uintptr_t>(matrix.col_scale) + j * sizeof(Accumulator<T>);
  __builtin_prefetch(reinterpret_cast<const void*>(scale), 0, 2);
}

// Lanes of vector v of a pass, where `bits` has its kept values.
template <bool kBits, typename A>
ISA_INLINE Vec<A> kept(Vec<A> value, const uint64_t* bits, int v) {
  const int bit = v * kLanes<A>;
  return kBits ? keep<A>(value, lanes_of<A>(bits[bit / 64] >> (bit % 64))) : value;
}

// V vectors of sums from column x on. Lanes past n <= V L are filled with what follows, where that is x's.
template <int V, bool kBits, typename T, typename I>
ISA_INLINE bool sum_vectors(const SumJob<T, I>& job, int64_t begin, int64_t end, int64_t c, int64_t n, Accumulator<T>* sums) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const Csr<A, I>& matrix = job.matrix;
  const T* const x = job.x + c;
  const int64_t row_bytes = (job.features + 7) / 8;
  const int64_t last_whole = n == V * L ? matrix.columns : matrix.columns - 1 - (V * L - n + job.x_stride - 1) / job.x_stride;
  Vec<A> sum[V] = {};
  for (int64_t e = begin; e < end; ++e) {
    const I j = matrix.col[e];
    if (!is_inside(j, matrix.columns)) return false;
    fetch<V * L * sizeof(T)>(x, job.x_stride, matrix, e);
    const T* const from = x + j * job.x_stride;
    const Vec<A> a = broadcast(factor(matrix, e, j));
    uint64_t bits[(V * L + 63) / 64] = {};
    if (kBits) {
      const uint8_t* const bytes = job.kept + j * row_bytes + c / 8;
      if (n == V * L) __builtin_memcpy(bits, bytes, (V * L + 7) / 8);
      else __builtin_memcpy(bits, bytes, (n + 7) / 8);
    }
    if (j <= last_whole) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) multiply_add(sum[v], a, kept<kBits, A>(load(from + v * L), bits, v));
    } else {
#pragma GCC unroll 8
      for (int v = 0; v < V - 1; ++v) multiply_add(sum[v], a, kept<kBits, A>(load(from + v * L), bits, v));
      const Vec<A> rest = load_some(from + (V - 1) * L, std::min<int64_t>(L, n - (V - 1) * L));
      multiply_add(sum[V - 1], a, kept<kBits, A>(rest, bits, V - 1));
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store(sums + v * L, sum[v]);
  return true;
}

template <bool kBits, typename T, typename I>
ISA_INLINE bool sum_rows(const SumJob<T, I>& job, const Range& range) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  constexpr int64_t kPass = std::max<int64_t>(kColumns, kMostVectors * L);
  alignas(64) A sums[kPass];
  for (int64_t row = range.row_begin; row < range.row_end; ++row) {
    const int64_t begin = job.matrix.rowptr[row], end = job.matrix.rowptr[row + 1];
    if (!row_is_inside(job.matrix, begin, end)) return false;
    const A scale = job.matrix.row_scale ? job.scale * job.matrix.row_scale[row] : job.scale;
    for (int64_t c = range.begin; c < range.end; c += kPass) {
      const int64_t columns = std::min(kPass, range.end - c);
      for (int64_t f = 0; f < columns; f += kMostVectors * L) {
        const int64_t n = std::min<int64_t>(columns - f, kMostVectors * L);
        bool inside = true;
        switch ((n + L - 1) / L) {
          case 1: inside = sum_vectors<1, kBits>(job, begin, end, c + f, n, sums + f); break;
          case 2: inside = sum_vectors<2, kBits>(job, begin, end, c + f, n, sums + f); break;
          case 3: inside = sum_vectors<3, kBits>(job, begin, end, c + f, n, sums + f); break;
          case 4: inside = sum_vectors<4, kBits>(job, begin, end, c + f, n, sums + f); break;
          case 5: inside = sum_vectors<5, kBits>(job, begin, end, c + f, n, sums + f); break;
          case 6: inside = sum_vectors<6, kBits>(job, begin, end, c + f, n, sums + f); break;
          case 7: inside = sum_vectors<7, kBits>(job, begin, end, c + f, n, sums + f); break;
          default: inside = sum_vectors<8, kBits>(job, begin, end, c + f, n, sums + f);
        }
        if (!inside) return false;
      }
      for (int64_t f = 0; f < columns; f += kColumns)
        finish<T>(job.activation, row, c + f, std::min(kColumns, columns - f), job.features, scale, sums + f,
                  job.y + row * job.features, job.stream);
    }
  }
  return true;
}

template <typename T, typename I>
ISA_TARGET bool sum(const SumJob<T, I>& job, const Range& range) {
  return job.kept ? sum_rows<true>(job, range) : sum_rows<false>(job, range);
}
