// y[c, r] = x[r, c], in squares of vectors.

template <typename T>
ISA_TARGET void transposed(const TransposeJob<T>& job, int64_t block_begin, int64_t block_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  for (int64_t c = block_begin * L; c < std::min(block_end * L, job.columns); c += L) {
    const int64_t width = std::min<int64_t>(L, job.columns - c);
    for (int64_t r = 0; r < job.rows; r += L) {
      const int64_t height = std::min<int64_t>(L, job.rows - r);
      const T* const from = job.x + r * job.x_stride + c;
      T* const to = job.y + c * job.rows + r;
      Vec<A> v[L] = {};
      if (width == L && height == L) {
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) v[i] = load(from + i * job.x_stride);
        transpose<A>(v);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) store(to + i * job.rows, v[i]);
        continue;
      }
      for (int64_t i = 0; i < height; ++i) v[i] = load_some(from + i * job.x_stride, width);
      transpose<A>(v);
      for (int64_t i = 0; i < width; ++i) store_some(to + i * job.rows, v[i], height);
    }
  }
}
