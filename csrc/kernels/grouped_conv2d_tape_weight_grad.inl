// weight_grad[k, tap] = sum_{n, p} grad[k, p] tape[p + on_tape(tap)], the gradient laid out with the tape's pitch and zeros
// where no output is. A vector of partial sums for some filters and some taps stays in registers while the positions pass, and
// is added up over its lanes at the end.

// Taps at once: sums, a vector of each filter's gradient and one of the tape fit the registers.
template <int K>
constexpr int kConvTaps = (kConvRegisters - K - 1) / K < 9 ? (kConvRegisters - K - 1) / K : 9;

template <int K, int N, typename A>
ISA_INLINE void products(const A* tape, const int64_t* offsets, const A* grad, int64_t grad_plane, int64_t vectors, A* partial,
                         int64_t filter_stride) {
  constexpr int L = kLanes<A>;
  Vec<A> sum[K][N];
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k)
#pragma GCC unroll 16
    for (int t = 0; t < N; ++t) sum[k][t] = load(partial + k * filter_stride + t * L);
  for (int64_t v = 0; v < vectors; ++v) {
    Vec<A> g[K];
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) g[k] = load(grad + k * grad_plane + v * L);
#pragma GCC unroll 16
    for (int t = 0; t < N; ++t) {
      const Vec<A> x = load(tape + offsets[t] + v * L);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) multiply_add(sum[k][t], g[k], x);
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k)
#pragma GCC unroll 16
    for (int t = 0; t < N; ++t) store(partial + k * filter_stride + t * L, sum[k][t]);
}

template <int K, int N, typename A>
ISA_INLINE void products_of(int64_t wanted, const A* tape, const int64_t* offsets, const A* grad, int64_t grad_plane,
                            int64_t vectors, A* partial, int64_t filter_stride) {
  if (wanted == N) return products<K, N>(tape, offsets, grad, grad_plane, vectors, partial, filter_stride);
  if constexpr (N > 1) products_of<K, N - 1>(wanted, tape, offsets, grad, grad_plane, vectors, partial, filter_stride);
}

template <int K, typename A>
ISA_TARGET void all_taps(const A* tape, const int64_t* offsets, int64_t taps, const A* grad, int64_t grad_plane, int64_t vectors,
                         A* partial) {
  constexpr int L = kLanes<A>, most = kConvTaps<K>;
  const int64_t parts = (taps + most - 1) / most;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = taps * part / parts, end = taps * (part + 1) / parts;
    products_of<K, most>(end - begin, tape, offsets + begin, grad, grad_plane, vectors, partial + begin * L, taps * L);
  }
}

// One filter's, row by row: nothing beside a row's end is read.
template <typename A>
ISA_TARGET void taps_by_rows(const Tape& tape, const A* source, const A* grad, int64_t rows, int64_t width, A* partial) {
  constexpr int L = kLanes<A>;
  for (int64_t offset : tape.on_tape) {
    Vec<A> sum = load(partial);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < width; j += L) {
        const int64_t p = i * tape.pitch + j, n = std::min<int64_t>(L, width - j);
        multiply_add(sum, load_some(grad + p, n), load_some(source + offset + p, n));
      }
    store(partial, sum);
    partial += L;
  }
}

// Some filters of a group: memory for their sums, their gradients on a band, and what these meet.
template <typename A>
struct TapeGrad {
  int64_t group, first, filters;  // of the group, from the first on
  A *source, *grad, *partial;
  int64_t grad_plane;
};

template <bool BY_ROWS, typename T>
ISA_TARGET void tape_grad(const ConvWeightGradJob<T>& job, const TapeGrad<Accumulator<T>>& of) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const Tape& tape = *job.tape;
  const int64_t taps = static_cast<int64_t>(tape.on_tape.size());
  const Columns columns(pass.size[1], job.grad.pixel_stride, 0, 1, tape.pitch);
  std::fill(of.partial, of.partial + of.filters * taps * L, A{0});
  for (int64_t n = 0; n < job.x.batch; ++n)
    for (int64_t row = 0; row < pass.size[0]; row += tape.rows) {
      const int64_t rows = std::min(tape.rows, pass.size[0] - row);
      const int64_t vectors = (rows * tape.pitch + L - 1) / L;
      fill_tape(pass, tape, job.x, n, of.group, row, rows, of.source);
      for (int64_t f = 0; f < of.filters; ++f) {
        const T* from = job.grad.data + n * job.grad.batch_stride +
                        (of.group * pass.filters + of.first + f) * job.grad.channel_stride + row * job.grad.row_stride;
        A* to = of.grad + f * of.grad_plane;
        for (int64_t i = 0; i < rows; ++i, from += job.grad.row_stride, to += tape.pitch) tape_row(from, columns, tape.pitch, to);
        std::fill(to, of.grad + f * of.grad_plane + vectors * L, A{0});
      }
      for (int64_t f = 0; f < of.filters; f += BY_ROWS ? 1 : kConvFilters) {
        const A* const grad = of.grad + f * of.grad_plane;
        A* const sums = of.partial + f * taps * L;
        if constexpr (BY_ROWS) {
          taps_by_rows(tape, of.source, grad, rows, pass.size[1], sums);
          continue;
        } else switch (std::min(kConvFilters, of.filters - f)) {
          case 1: all_taps<1>(of.source, tape.on_tape.data(), taps, grad, of.grad_plane, vectors, sums); break;
          case 2: all_taps<2>(of.source, tape.on_tape.data(), taps, grad, of.grad_plane, vectors, sums); break;
          case 3: all_taps<3>(of.source, tape.on_tape.data(), taps, grad, of.grad_plane, vectors, sums); break;
          default: all_taps<4>(of.source, tape.on_tape.data(), taps, grad, of.grad_plane, vectors, sums);
        }
      }
    }
}

template <typename T>
ISA_TARGET void conv_tape_weight_grad(const ConvWeightGradJob<T>& job, int64_t task_begin, int64_t task_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const Tape& tape = *job.tape;
  const int64_t taps = static_cast<int64_t>(tape.on_tape.size());
  const int64_t grad_plane = (tape.rows * tape.pitch + L - 1) / L * L;
  const int64_t most = (pass.filters + job.slices - 1) / job.slices;
  std::vector<A> memory(tape.size + most * grad_plane + L + most * taps * L);  // zeros: all of it is multiplied
  A* const source = memory.data();
  A* const grad = source + tape.size;
  A* const partial = grad + most * grad_plane + L;
  for (int64_t task = task_begin; task < task_end; ++task) {
    const int64_t g = task / job.slices, slice = task % job.slices;
    const int64_t first = pass.filters * slice / job.slices, filters = pass.filters * (slice + 1) / job.slices - first;
    if (filters == 0) continue;
    const TapeGrad<A> of{g, first, filters, source, grad, partial, grad_plane};
    A* const to = job.weight_grad + (g * pass.filters + first) * taps;
    tape_grad<false>(job, of);
    add_lanes(partial, filters * taps, to);
    // Beside a row's end the 0 of a gradient may have met an infinity: no product of the sum.
    if (std::none_of(to, to + filters * taps, [](A v) { return v != v; })) continue;
    tape_grad<true>(job, of);
    add_lanes(partial, filters * taps, to);
  }
}
