// What all three ways do with a vector of sums: bias, residual, ReLU, and the store to results at any distance.

template <typename T>
ISA_INLINE Vec<Accumulator<T>> activated(const ConvJob<T>& job, Vec<Accumulator<T>> value) {
  return job.relu ? keep<Accumulator<T>>(value, ~(value < 0)) : value;  // NaN stays
}

// n values of p[0], p[step], ...
template <typename T>
ISA_INLINE Vec<Accumulator<T>> load_spaced(const T* p, int64_t step, int64_t n) {
  constexpr int L = kLanes<Accumulator<T>>;
  if (step == 1) return n == L ? load(p) : load_some(p, n);
  alignas(64) T in[L] = {};
  for (int64_t l = 0; l < n; ++l) in[l] = p[l * step];
  return load(in);
}

// What is stored at to[0], to[step], ... of y.
template <typename T>
ISA_INLINE Vec<Accumulator<T>> finished(const ConvJob<T>& job, Vec<Accumulator<T>> value, Vec<Accumulator<T>> bias, const T* to,
                                        int64_t step, int64_t n) {
  value += bias;
  if (job.residual) value += load_spaced(job.residual + (to - job.y.data), step, n);
  return activated(job, value);
}

// n values at p[0], p[step], ...
template <typename T>
ISA_INLINE void store_spaced(T* p, int64_t step, Vec<Accumulator<T>> value, int64_t n) {
  constexpr int L = kLanes<Accumulator<T>>;
  if (step == 1) return n == L ? store(p, value) : store_some(p, value, n);
  alignas(64) T out[L];
  store(out, value);
  for (int64_t l = 0; l < n; ++l) p[l * step] = out[l];
}
