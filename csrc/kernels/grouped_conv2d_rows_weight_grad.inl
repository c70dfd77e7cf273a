// weight_grad[k, c, r, s] = sum_{n, i, j} grad[k, i, j] x[c, i read_step + row[r], j read_step + column[s]], vectors running
// over the columns j of planar images where they lie. A vector of partial sums for some filters, rows and columns of the weight
// stays in registers while the rows of a band pass, and is added up over its lanes at the end.

// Filters at once with a whole 3 x 3.
constexpr int64_t kGradFilters = kConvRegisters == 32 ? 3 : 1;

// to[i] = sum of the lanes of vector i.
template <typename A>
ISA_INLINE void add_lanes(const A* vectors, int64_t count, A* to) {
  constexpr int L = kLanes<A>;
  for (int64_t i = 0; i < count; i += L) {
    const int64_t some = std::min<int64_t>(L, count - i);
    Vec<A> v[L] = {};
#pragma GCC unroll 16
    for (int l = 0; l < L; ++l)
      if (l < some) v[l] = load(vectors + (i + l) * L);
    store_some(to + i, sum_each<A>(v), some);
  }
}

// One channel of x with some filters' gradients, the rows of one band.
template <typename T>
struct GradRows {
  const T* x;
  const T* grad;
  const T* zeros;
  int64_t first, end;  // rows of outputs
  Accumulator<T>* partial;
  int64_t filter_stride;  // of partial
};

template <int K, int R, int S, int STEP, typename T>
ISA_INLINE void grad_rows(const ConvWeightGradJob<T>& job, const GradRows<T>& of, const RowMasks<Accumulator<T>>& masks,
                          int64_t r0, int64_t s0) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const int64_t vectors = (pass.size[1] + L - 1) / L, last = pass.size[1] - (vectors - 1) * L;
  int64_t offset[S];
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) offset[s] = pass.steps[1][s0 + s].offset;
  Vec<A> sum[K][R][S] = {};
  for (int64_t i = of.first; i < of.end; ++i) {
    const T* const grad = of.grad + i * job.grad.row_stride;
    const T* line[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const int64_t row = i * pass.read_step[0] + pass.steps[0][r0 + r].offset;
      line[r] = row >= 0 && row < job.x.height ? of.x + row * job.x.row_stride : of.zeros;
    }
    for (int64_t v = 0; v < vectors; ++v) {
      const Between inside = between(0, v + 1 < vectors ? L : last);
      const Between* const lanes = masks.lanes.data() + v * masks.columns + s0;
      Vec<A> g[K];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) g[k] = load_between(grad + k * job.grad.channel_stride + v * L, inside);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) {
          const Vec<A> x = load_columns<STEP>(line[r] + v * L * STEP + offset[s], lanes[s]);
#pragma GCC unroll 4
          for (int k = 0; k < K; ++k) multiply_add(sum[k][r][s], g[k], x);
        }
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        A* const to = of.partial + k * of.filter_stride + ((r0 + r) * masks.columns + s0 + s) * L;
        store(to, load(to) + sum[k][r][s]);
      }
}

template <int K, int STEP, typename T>
ISA_TARGET void grad_kernel(const ConvWeightGradJob<T>& job, const GradRows<T>& of, const RowMasks<Accumulator<T>>& masks) {
  const int64_t rows = job.pass->steps[0].size(), columns = masks.columns;
  if constexpr (K <= kGradFilters)
    if (rows == 3 && columns == 3) return grad_rows<K, 3, 3, STEP>(job, of, masks, 0, 0);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t s = 0; s < columns; s += 3) switch (columns - s) {
        case 1: grad_rows<K, 1, 1, STEP>(job, of, masks, r, s); break;
        case 2: grad_rows<K, 1, 2, STEP>(job, of, masks, r, s); break;
        default: grad_rows<K, 1, 3, STEP>(job, of, masks, r, s);
      }
}

template <int STEP, typename T>
ISA_INLINE void rows_weight_grad(const ConvWeightGradJob<T>& job, int64_t task_begin, int64_t task_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const RowMasks<A> masks(pass, job.x.width);
  const int64_t size = static_cast<int64_t>(pass.steps[0].size()) * masks.columns, taps = pass.channels * size;
  const int64_t most = (pass.filters + job.slices - 1) / job.slices;
  const int64_t at_once = size == 9 && masks.columns == 3 ? kGradFilters : kConvFilters;
  const std::vector<T> zeros(job.x.width);
  std::vector<A> partial(most * taps * L);
  for (int64_t task = task_begin; task < task_end; ++task) {
    const int64_t g = task / job.slices, slice = task % job.slices, first = g * pass.filters + pass.filters * slice / job.slices;
    const int64_t filters = g * pass.filters + pass.filters * (slice + 1) / job.slices - first;
    if (filters == 0) continue;
    const int64_t parts = (filters + at_once - 1) / at_once;
    std::fill(partial.begin(), partial.begin() + filters * taps * L, A{0});
    for (int64_t n = 0; n < job.x.batch; ++n)
      for (int64_t row = 0; row < pass.size[0]; row += job.rows)
        for (int64_t c = 0; c < pass.channels; ++c)
          for (int64_t part = 0; part < parts; ++part) {
            const int64_t f = filters * part / parts;
            const GradRows<T> of{job.x.data + n * job.x.batch_stride + (g * pass.channels + c) * job.x.channel_stride,
                                 job.grad.data + n * job.grad.batch_stride + (first + f) * job.grad.channel_stride,
                                 zeros.data(),
                                 row,
                                 std::min(row + job.rows, pass.size[0]),
                                 partial.data() + (f * taps + c * size) * L,
                                 taps * L};
            switch (filters * (part + 1) / parts - f) {
              case 1: grad_kernel<1, STEP>(job, of, masks); break;
              case 2: grad_kernel<2, STEP>(job, of, masks); break;
              case 3: grad_kernel<3, STEP>(job, of, masks); break;
              default: grad_kernel<4, STEP>(job, of, masks);
            }
          }
    add_lanes(partial.data(), filters * taps, job.weight_grad + first * taps);
  }
}

template <typename T>
ISA_TARGET void conv_rows_weight_grad(const ConvWeightGradJob<T>& job, int64_t task_begin, int64_t task_end) {
  job.pass->read_step[1] == 1 ? rows_weight_grad<1>(job, task_begin, task_end) : rows_weight_grad<2>(job, task_begin, task_end);
}
