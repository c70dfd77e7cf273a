// y[i, f] = max_j A[i, j] x[j, f] (or min) over the stored entries of row i, and source[i, f] = j; of equals the first; a
// NaN wins, the first one; an empty row gives 0 from -1.
// dx[j, f] = sum_i A^T[j, i] grad[i, f] [source[i, f] = j], over the transposed matrix: no two rows write one value.

// n <= L numbers of columns as lanes of A's width.
template <typename A>
ISA_INLINE Mask<A> load_source(const int32_t* p, int64_t n) {
  typedef int32_t Narrow __attribute__((vector_size(VECTOR_BYTES * 4 / sizeof(A))));
  Narrow v{};
  __builtin_memcpy(&v, p, n * sizeof(int32_t));
  return __builtin_convertvector(v, Mask<A>);
}
template <typename A>
ISA_INLINE void store_source(int32_t* p, Mask<A> v, int64_t n) {
  typedef int32_t Narrow __attribute__((vector_size(VECTOR_BYTES * 4 / sizeof(A))));
  const Narrow narrow = __builtin_convertvector(v, Narrow);
  __builtin_memcpy(p, &narrow, n * sizeof(int32_t));
}

template <bool Largest, typename T, typename I>
ISA_INLINE bool extreme_row(const ExtremeJob<T, I>& job, int64_t row, int64_t c, int64_t n) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  using Lane = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
  const Csr<A, I>& matrix = job.matrix;
  const int64_t begin = matrix.rowptr[row], end = matrix.rowptr[row + 1];
  if (!row_is_inside(matrix, begin, end)) return false;
  const A scale = matrix.row_scale ? matrix.row_scale[row] : A{1};
  Vec<A> best{};
  Mask<A> source = Mask<A>{} - 1;
  for (int64_t e = begin; e < end; ++e) {
    const I j = matrix.col[e];
    if (!is_inside(j, matrix.columns)) return false;
    fetch<L * sizeof(T)>(job.x + c, job.x_stride, matrix, e);
    const T* const from = job.x + j * job.x_stride + c;
    const Vec<A> value = (n < L ? load_some(from, n) : load(from)) * broadcast(scale * factor(matrix, e, j));
    const Mask<A> better = (Largest ? value > best : value < best) | ((value != value) & (best == best)) | (source < 0);
    best = reinterpret_cast<Vec<A>>((reinterpret_cast<Mask<A>>(value) & better) | (reinterpret_cast<Mask<A>>(best) & ~better));
    source = ((Mask<A>{} + static_cast<Lane>(j)) & better) | (source & ~better);
  }
  T* const y = job.y + row * job.features + c;
  n < L ? store_some(y, best, n) : store(y, best);
  store_source<A>(job.source + row * job.features + c, source, n);
  return true;
}

template <typename T, typename I>
ISA_TARGET bool extreme(const ExtremeJob<T, I>& job, const Range& range) {
  constexpr int L = kLanes<Accumulator<T>>;
  for (int64_t row = range.row_begin; row < range.row_end; ++row) {
    for (int64_t c = range.begin; c < range.end; c += L) {
      const int64_t n = std::min<int64_t>(L, range.end - c);
      if (!(job.largest ? extreme_row<true>(job, row, c, n) : extreme_row<false>(job, row, c, n))) return false;
    }
  }
  return true;
}

template <typename T, typename I>
ISA_TARGET bool extreme_grad(const ExtremeJob<T, I>& job, const Range& range) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  using Lane = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
  const Csr<A, I>& matrix = job.matrix;
  for (int64_t row = range.row_begin; row < range.row_end; ++row) {
    const int64_t begin = matrix.rowptr[row], end = matrix.rowptr[row + 1];
    if (!row_is_inside(matrix, begin, end)) return false;
    const A scale = matrix.row_scale ? matrix.row_scale[row] : A{1};
    for (int64_t c = range.begin; c < range.end; c += L) {
      const int64_t n = std::min<int64_t>(L, range.end - c);
      Vec<A> total{};
      for (int64_t e = begin; e < end; ++e) {
        const I i = matrix.col[e];
        if (!is_inside(i, matrix.columns)) return false;
        const T* const from = job.x + i * job.x_stride + c;
        const Mask<A> here = load_source<A>(job.source + i * job.features + c, n) == static_cast<Lane>(row);
        multiply_add(total, keep<A>(n < L ? load_some(from, n) : load(from), here), broadcast(factor(matrix, e, i)));
      }
      T* const y = job.y + row * job.features + c;
      total *= broadcast(scale);
      n < L ? store_some(y, total, n) : store(y, total);
    }
  }
  return true;
}
