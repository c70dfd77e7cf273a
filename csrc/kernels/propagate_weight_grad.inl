// weight_grad[e] = row_scale[i] col_scale[j] sum_f grad[i, f] x[j, f] for every entry e = (i, j)

template <typename T, typename I>
ISA_TARGET bool weight_grad(const EntryGradJob<T, I>& job, const Range& range) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>, V = 4;
  const Csr<A, I>& matrix = job.matrix;
  for (int64_t row = range.row_begin; row < range.row_end; ++row) {
    const int64_t begin = matrix.rowptr[row], end = matrix.rowptr[row + 1];
    if (!row_is_inside(matrix, begin, end)) return false;
    const T* const grad = job.grad + row * job.grad_stride;
    const A scale = matrix.row_scale ? matrix.row_scale[row] : A{1};
    for (int64_t e = begin; e < end; ++e) {
      const I j = matrix.col[e];
      if (!is_inside(j, matrix.columns)) return false;
      const T* const x = job.x + j * job.x_stride;
      Vec<A> sums[V] = {};
      int64_t f = 0;
      for (; f + V * L <= job.features; f += V * L)
        for (int v = 0; v < V; ++v) multiply_add(sums[v], load(grad + f + v * L), load(x + f + v * L));
      for (; f < job.features; f += L) {
        const int64_t n = std::min<int64_t>(L, job.features - f);
        multiply_add(sums[0], load_some(grad + f, n), load_some(x + f, n));
      }
      const Vec<A> total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      A dot = 0;
      for (int l = 0; l < L; ++l) dot += total[l];
      job.weight_grad[e] = scale * (factor(matrix, e, j) * dot);
    }
  }
  return true;
}
