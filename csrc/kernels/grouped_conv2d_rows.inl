// Vectors over the columns of an output row, for images with consecutive pixels in rows:
//
//   y[k, i, j .. j + L) = sum_{c, r, s} weight[k, c, r, s] x[c, i read_step + row[r], (j .. j + L) read_step + column[s]]
//
// A tile of K filters, some rows and some vectors of outputs stays in registers while the channels pass; what is read of x is
// used for all rows and filters of the tile. Lanes outside of x are read as 0 under a mask, and nothing is copied.

constexpr int kConvRegisters = VECTOR_BYTES == 64 ? 32 : 16;

// Rows of a tile of V vectors: its sums, a weight and V values of x fit the registers.
template <int K, int V, int M = (kConvRegisters - 1 - V) / (K * V)>
constexpr int kTileRows = M < 1 ? 1 : M < 7 ? M : 7;

// What of a row is inside of x: for every vector of outputs and column of the weight.
template <typename A>
struct RowMasks {
  int64_t columns;
  std::vector<Between> lanes;

  ISA_TARGET RowMasks(const ConvPass& pass, int64_t width) : columns(pass.steps[1].size()) {
    constexpr int64_t L = kLanes<A>;
    const int64_t step = pass.read_step[1];
    for (int64_t j = 0; j < pass.size[1]; j += L)
      for (const Step& s : pass.steps[1]) {
        const int64_t first = j * step + s.offset, most = (std::min(L, pass.size[1] - j) - 1) * step + 1;
        const int64_t begin = std::clamp<int64_t>(-first, 0, most);
        lanes.push_back(between(begin, std::clamp<int64_t>(width - first, begin, most)));
      }
  }
};

// Some filters of one group of one image, with their weights in the order in which they are read.
template <typename T>
struct RowsSource {
  const T* x;  // of channel 0
  T* y;        // of the first filter
  const T* zeros;                 // a row of them
  const Accumulator<T>* weight;   // [c][r][s][filter]
  const Accumulator<T>* bias;

  // A row of a plane, or zeros.
  ISA_INLINE const T* line(const ConvJob<T>& job, const T* plane, int64_t row) const {
    return row >= 0 && row < job.x.height ? plane + row * job.x.row_stride : zeros;
  }
};

template <int STEP, typename T>
ISA_INLINE Vec<Accumulator<T>> load_columns(const T* at, Between lanes) {
  if constexpr (STEP == 1) return load_between(at, lanes);
  else return load_every_second(at, lanes);
}

template <int K, int V, typename A>
ISA_INLINE void add_products(Vec<A> (&sum)[K][V], const A* weight, const Vec<A> (&x)[V]) {
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k) {
    const Vec<A> w = broadcast(weight[k]);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) multiply_add(sum[k][v], w, x[v]);
  }
}

// Three neighbouring rows and columns of a weight: every vector of x is read once for all rows of outputs that meet it.
template <int K, int N, int V, typename T>
ISA_INLINE void three_by_three(const ConvJob<T>& job, const RowsSource<T>& of, const RowMasks<Accumulator<T>>& masks,
                               int64_t first_row, int64_t first_vector, Vec<Accumulator<T>> (&sum)[N][K][V]) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  Between lanes[V][3];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v)
#pragma GCC unroll 4
    for (int s = 0; s < 3; ++s) lanes[v][s] = masks.lanes[(first_vector + v) * 3 + s];
  const int64_t row = first_row + pass.steps[0].front().offset, column = first_vector * L + pass.steps[1].front().offset;
  const T* plane = of.x;
  const A* weight = of.weight;
  for (int64_t c = 0; c < pass.channels; ++c, plane += job.x.channel_stride, weight += 9 * K) {
#pragma GCC unroll 16
    for (int q = 0; q < N + 2; ++q) {
      const T* const line = of.line(job, plane, row + q) + column;
      const A* again = weight;
      if (K > 1) asm("" : "+r"(again));  // weights of all rows do not fit the registers: let none be kept from row to row
#pragma GCC unroll 4
      for (int s = 0; s < 3; ++s) {
        Vec<A> x[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) x[v] = load_between(line + v * L + s, lanes[v][s]);
#pragma GCC unroll 4
        for (int r = 0; r < 3; ++r)
          if (q - r >= 0 && q - r < N) add_products<K, V>(sum[q - r >= 0 && q - r < N ? q - r : 0], again + (r * 3 + s) * K, x);
      }
    }
  }
}

template <int K, int N, int V, int STEP, typename T>
ISA_INLINE void any_kernel(const ConvJob<T>& job, const RowsSource<T>& of, const RowMasks<Accumulator<T>>& masks,
                           int64_t first_row, int64_t first_vector, Vec<Accumulator<T>> (&sum)[N][K][V]) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const Between* const lanes = masks.lanes.data() + first_vector * masks.columns;
  const A* weight = of.weight;
  for (int64_t c = 0; c < pass.channels; ++c) {
    const T* const plane = of.x + c * job.x.channel_stride;
    for (const Step& r : pass.steps[0]) {
      const T* line[N];
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i)
        line[i] = of.line(job, plane, (first_row + i) * pass.read_step[0] + r.offset) + first_vector * L * STEP;
      for (int64_t s = 0; s < masks.columns; ++s, weight += K)
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) {
          Vec<A> x[V];
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v)
            x[v] = load_columns<STEP>(line[i] + v * L * STEP + pass.steps[1][s].offset, lanes[v * masks.columns + s]);
          add_products<K, V>(sum[i], weight, x);
        }
    }
  }
}

enum class RowsKernel { three_by_three, any, any_second, pairs };  // any_second reads every second column, pairs: below

template <int K, int N, int V, RowsKernel KERNEL, typename T>
ISA_TARGET void row_tile(const ConvJob<T>& job, const RowsSource<T>& of, const RowMasks<Accumulator<T>>& masks, int64_t first_row,
                         int64_t rows, int64_t first_vector) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  Vec<A> sum[N][K][V] = {};
  if constexpr (KERNEL == RowsKernel::three_by_three) three_by_three<K>(job, of, masks, first_row, first_vector, sum);
  else any_kernel<K, N, V, KERNEL == RowsKernel::any ? 1 : 2>(job, of, masks, first_row, first_vector, sum);
  const int64_t step = pass.step[1];
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k) {
    const Vec<A> bias = broadcast(of.bias ? of.bias[k] : A{0});
    T* const out = of.y + k * job.y.channel_stride + pass.first[1] + first_vector * L * step;
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      if (i >= rows) break;
      T* const to = out + (pass.first[0] + (first_row + i) * pass.step[0]) * job.y.row_stride;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        T* const at = to + v * L * step;
        const int64_t n = std::min<int64_t>(L, pass.size[1] - (first_vector + v) * L);
        store_spaced(at, step, finished(job, sum[i][k][v], bias, at, step, n), n);
      }
    }
  }
}

// All rows of a task, in tiles.
template <int K, RowsKernel KERNEL, typename T>
ISA_INLINE void row_tiles(const ConvJob<T>& job, const RowsSource<T>& of, const RowMasks<Accumulator<T>>& masks,
                          int64_t first_row, int64_t rows) {
  constexpr int N1 = kTileRows<K, 1>, N2 = kTileRows<K, 2>;
  const int64_t vectors = (job.pass->size[1] + kLanes<Accumulator<T>> - 1) / kLanes<Accumulator<T>>;
  for (int64_t i = 0; i < rows; i += N2)
    for (int64_t v = 0; v + 1 < vectors; v += 2)
      row_tile<K, N2, 2, KERNEL>(job, of, masks, first_row + i, std::min<int64_t>(N2, rows - i), v);
  if (vectors % 2)
    for (int64_t i = 0; i < rows; i += N1)
      row_tile<K, N1, 1, KERNEL>(job, of, masks, first_row + i, std::min<int64_t>(N1, rows - i), vectors - 1);
}

#include "grouped_conv2d_row_pairs.inl"  // a tile of its own

template <typename A>
ISA_INLINE void pack_rows(const ConvPass& pass, const A* weight, const WeightStrides& stride, int64_t filters, A* packed) {
  for (int64_t c = 0; c < pass.channels; ++c)
    for (const Step& r : pass.steps[0])
      for (size_t s = 0; s < pass.steps[1].size(); ++s) {
        const A* const from = weight + c * stride.channel + r.k * stride.row;
        const auto entries = [&](int64_t entry) {
          for (int64_t k = 0; k < filters; ++k) *packed++ = entry < 0 ? A{0} : from[entry + k * stride.filter];
        };
        entries(pass.steps[1][s].k);
        if (!pass.beside.empty()) entries(pass.beside[s]);
      }
}

template <RowsKernel KERNEL, typename T>
ISA_TARGET void conv_rows_by(const ConvJob<T>& job, int64_t task_begin, int64_t task_end) {
  using A = Accumulator<T>;
  const ConvPass& pass = *job.pass;
  const RowMasks<A> masks(pass, job.x.width);
  const int64_t taps = pass.channels * static_cast<int64_t>(pass.steps[0].size() * pass.steps[1].size());
  constexpr int64_t most = KERNEL == RowsKernel::pairs ? kPairFilters : kConvFilters;
  const std::vector<T> zeros(job.x.width);
  static_assert(2 * kPairFilters <= kConvFilters);  // two weights each
  std::vector<A> packed(taps * kConvFilters);
  const int64_t bands = job.bands, parts = (pass.filters + most - 1) / most;
  for (int64_t task = task_begin; task < task_end; ++task) {
    const int64_t n = task / (pass.groups * bands), g = task / bands % pass.groups, row = task % bands * job.rows;
    const int64_t rows = std::min(job.rows, pass.size[0] - row);
    if (rows <= 0) continue;
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t f = pass.filters * part / parts, filters = pass.filters * (part + 1) / parts - f;
      const int64_t filter = g * pass.filters + f;
      pack_rows(pass, job.weight.data + g * job.weight.stride.group + f * job.weight.stride.filter, job.weight.stride, filters,
                packed.data());
      const RowsSource<T> of{job.x.data + n * job.x.batch_stride + g * pass.channels * job.x.channel_stride,
                             job.y.data + n * job.y.batch_stride + filter * job.y.channel_stride, zeros.data(), packed.data(),
                             job.bias ? job.bias + filter : nullptr};
      if constexpr (KERNEL == RowsKernel::pairs) {
        filters == 1 ? pair_tiles<1>(job, of, masks, row, rows) : pair_tiles<2>(job, of, masks, row, rows);
        continue;
      } else switch (filters) {
        case 1: row_tiles<1, KERNEL>(job, of, masks, row, rows); break;
        case 2: row_tiles<2, KERNEL>(job, of, masks, row, rows); break;
        case 3: row_tiles<3, KERNEL>(job, of, masks, row, rows); break;
        default: row_tiles<4, KERNEL>(job, of, masks, row, rows);
      }
    }
  }
}

template <typename T>
ISA_TARGET void conv_rows(const ConvJob<T>& job, int64_t task_begin, int64_t task_end) {
  const ConvPass& pass = *job.pass;
  const bool three = pass.steps[0].size() == 3 && pass.steps[1].size() == 3 && pass.reach(0) == 2 && pass.reach(1) == 2;
  if (!pass.beside.empty()) return conv_rows_by<RowsKernel::pairs>(job, task_begin, task_end);
  if (pass.read_step[1] == 2) return conv_rows_by<RowsKernel::any_second>(job, task_begin, task_end);
  if (three && pass.read_step[0] == 1) return conv_rows_by<RowsKernel::three_by_three>(job, task_begin, task_end);
  conv_rows_by<RowsKernel::any>(job, task_begin, task_end);
}
