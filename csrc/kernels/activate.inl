// y[i, f] = drop(relu(scale v[i, f] + bias[f])), a bit for every value that has a slope, and the gradient of both; and
// y[i, f] = scale sum_p x_p[i, f].

// n <= kColumns values of a row from column c on; v holds whole vectors of them.
template <typename T>
ISA_INLINE void finish(const Activation<Accumulator<T>>& activation, int64_t row, int64_t c, int64_t n, int64_t features,
                       Accumulator<T> scale, const Accumulator<T>* v, T* y, bool streamed) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const uint64_t drawn = activation.drops ? draw(activation.seed, row, c, activation.threshold) : ~uint64_t{0};
  uint64_t kept = 0;
  for (int64_t f = 0; f < n; f += L) {
    const int64_t lanes = n - f < L ? n - f : L;
    Vec<A> value = load(v + f) * broadcast(scale);
    if (activation.bias) value += lanes == L ? load(activation.bias + c + f) : load_some(activation.bias + c + f, lanes);
    uint64_t bits = drawn >> f;
    if (activation.relu) {
      const Mask<A> negative = value < 0;  // NaN stays
      value = keep<A>(value, ~negative);
      bits &= bits_of(value > 0);
    }
    if (activation.drops) value = keep<A>(value * broadcast(activation.scale), lanes_of<A>(drawn >> f));
    kept |= (bits & ((uint64_t{1} << L) - 1)) << f;
    if (lanes < L) store_some(y + c + f, value, lanes);
    else if (streamed) stream(y + c + f, value);
    else store(y + c + f, value);
  }
  if (!activation.kept) return;
  if (n < kColumns) kept &= (uint64_t{1} << n) - 1;
  __builtin_memcpy(activation.kept + row * ((features + 7) / 8) + c / 8, &kept, (n + 7) / 8);
}

template <typename T>
ISA_TARGET void activate(const ActivateJob<T>& job, int64_t row_begin, int64_t row_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  alignas(64) A values[kColumns];
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t c = 0; c < job.features; c += kColumns) {
      const int64_t n = std::min(kColumns, job.features - c);
      const T* x = job.x + row * job.x_stride + c;
      for (int64_t f = 0; f < n; f += L) store(values + f, n - f < L ? load_some(x + f, n - f) : load(x + f));
      finish<T>(job.activation, row, c, n, job.features, A{1}, values, job.y + row * job.features, false);
    }
  }
}

template <typename T>
ISA_TARGET void activate_grad(const ActivateGradJob<T>& job, int64_t sum_begin, int64_t sum_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  for (int64_t s = sum_begin; s < sum_end; ++s) {
    A* const sum = job.partial + s * job.features;
    std::fill(sum, sum + job.features, A{0});
    for (int64_t row = s * kRowsPerSum; row < std::min(job.rows, (s + 1) * kRowsPerSum); ++row) {
      for (int64_t c = 0; c < job.features; c += kColumns) {
        const int64_t n = std::min(kColumns, job.features - c);
        const T* grad = job.grad + row * job.grad_stride + c;
        T* const dx = job.dx + row * job.features + c;
        uint64_t kept = ~uint64_t{0};
        if (job.kept) __builtin_memcpy(&kept, job.kept + row * ((job.features + 7) / 8) + c / 8, (n + 7) / 8);
        for (int64_t f = 0; f < n; f += L) {
          const int64_t lanes = n - f < L ? n - f : L;
          Vec<A> value = lanes < L ? load_some(grad + f, lanes) : load(grad + f);
          if (job.kept) value = keep<A>(value * broadcast(job.scale), lanes_of<A>(kept >> f));
          if (lanes < L) {
            store_some(dx + f, value, lanes);
            store_some(sum + c + f, load_some(sum + c + f, lanes) + value, lanes);
          } else {
            store(dx + f, value);
            store(sum + c + f, load(sum + c + f) + value);
          }
        }
      }
    }
  }
}

template <typename T>
ISA_TARGET void combine(const CombineJob<T>& job, int64_t row_begin, int64_t row_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  for (int64_t row = row_begin; row < row_end; ++row) {
    T* const y = job.y + row * job.features;
    for (int64_t f = 0; f < job.features; f += L) {
      const int64_t n = std::min<int64_t>(L, job.features - f);
      Vec<A> total{};
      for (int64_t p = 0; p < job.parts; ++p) {
        const T* const x = job.x[p] + row * job.x_stride[p] + f;
        total += n < L ? load_some(x, n) : load(x);
      }
      total *= broadcast(job.scale);
      n < L ? store_some(y + f, total, n) : store(y + f, total);
    }
  }
}
