// y[i, f] = drop(relu(bias[f] + scale row_scale[i] sum_j weight[e] col_scale[j] kept[j, f] x[j, f])). A row's sum for
// kColumns features stays in registers while its entries pass; rows of x that come kAhead entries later are fetched
// meanwhile.

constexpr int kAhead = 16;       // entries
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

template <typename T, typename I>
ISA_INLINE void fetch(const T* x, int64_t stride, const Csr<Accumulator<T>, I>& matrix, int64_t e, int bytes) {
  if (e + kAhead >= matrix.entries) return;
  const auto line = reinterpret_cast<uintptr_t>(x) + static_cast<uint64_t>(matrix.col[e + kAhead]) * stride * sizeof(T);
  for (int b = 0; b < bytes; b += 64) __builtin_prefetch(reinterpret_cast<const void*>(line + b));
}

template <bool kBits, typename A>
ISA_INLINE Vec<A> kept(Vec<A> value, uint64_t bits) {
  return kBits ? keep<A>(value, lanes_of<A>(bits)) : value;
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
    fetch(x, job.x_stride, matrix, e, V * L * static_cast<int>(sizeof(T)));
    const T* const from = x + j * job.x_stride;
    const Vec<A> a = broadcast(factor(matrix, e, j));
    uint64_t bits = 0;
    if (kBits) __builtin_memcpy(&bits, job.kept + j * row_bytes + c / 8, (n + 7) / 8);
    if (j <= last_whole) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) multiply_add(sum[v], a, kept<kBits, A>(load(from + v * L), bits >> (v * L)));
    } else {
#pragma GCC unroll 8
      for (int v = 0; v < V - 1; ++v) multiply_add(sum[v], a, kept<kBits, A>(load(from + v * L), bits >> (v * L)));
      multiply_add(sum[V - 1], a, kept<kBits, A>(load_some(from + (V - 1) * L, std::min<int64_t>(L, n - (V - 1) * L)),
                                                     bits >> ((V - 1) * L % kColumns)));  // never more
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
  alignas(64) A sums[kColumns];
  for (int64_t row = range.row_begin; row < range.row_end; ++row) {
    const int64_t begin = job.matrix.rowptr[row], end = job.matrix.rowptr[row + 1];
    if (!row_is_inside(job.matrix, begin, end)) return false;
    for (int64_t c = range.begin; c < range.end; c += kColumns) {
      const int64_t columns = std::min(kColumns, range.end - c);
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
      const A scale = job.matrix.row_scale ? job.scale * job.matrix.row_scale[row] : job.scale;
      finish<T>(job.activation, row, c, columns, job.features, scale, sums, job.y + row * job.features, job.stream);
    }
  }
  return true;
}

template <typename T, typename I>
ISA_TARGET bool sum(const SumJob<T, I>& job, const Range& range) {
  return job.kept ? sum_rows<true>(job, range) : sum_rows<false>(job, range);
}
