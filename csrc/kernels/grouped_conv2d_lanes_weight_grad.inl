// weight_grad[lane, c, r, s] = sum over pixels p of grad[p][lane] x[p met by (r, s)][channel(lane, c)], a block of filters at a
// time, one a lane. x lies on a tape as for the outputs (grouped_conv2d_lanes.inl); the gradient is read where it lies in
// channels-last images, and transposed of planar ones. Sums over a band stay in registers, those over bands in memory.

constexpr int kGradChannels = 4;  // at once, at most

// What one row of outputs meets: its gradients, and a row of the tape.
template <typename A>
struct LaneRow {
  const A* tape;
  const int64_t* columns;                  // on the tape
  const typename VectorOf<A>::mask* from;  // by channel
  int64_t step;
};

// The gradient of pixel j of a row: all lanes, or the first few.
template <typename T>
struct LaneGrad {
  const T* data;
  int64_t distance;
  Between lanes;
  bool full;

  ISA_INLINE Vec<Accumulator<T>> operator[](int64_t j) const {
    return full ? load(data + j * distance) : load_between(data + j * distance, lanes);
  }
};

// Three neighbouring columns of C channels: every vector of the tape is permuted once for all three.
template <int C, typename T, typename A>
ISA_INLINE void grad_three_columns(const LaneGrad<T>& grad, const LaneRow<A>& x, int64_t width, Vec<A> (&sum)[C][3]) {
  constexpr int L = kLanes<A>, V = 4;
  for (int64_t j = 0; j + V <= width; j += V) {
    Vec<A> g[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) g[v] = grad[j + v];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const auto from = x.from[c];
#pragma GCC unroll 6
      for (int p = 0; p < V + 2; ++p) {
        const Vec<A> lanes = permute<A>(load(x.tape + (j + p) * L), from);
        if (p < V) multiply_add(sum[c][0], g[p < V ? p : 0], lanes);
        if (p >= 1 && p <= V) multiply_add(sum[c][1], g[p >= 1 && p <= V ? p - 1 : 0], lanes);
        if (p >= 2) multiply_add(sum[c][2], g[p >= 2 ? p - 2 : 0], lanes);
      }
    }
  }
  for (int64_t j = width / V * V; j < width; ++j) {
    const Vec<A> g = grad[j];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c)
#pragma GCC unroll 4
      for (int s = 0; s < 3; ++s) multiply_add(sum[c][s], g, permute<A>(load(x.tape + (j + s) * L), x.from[c]));
  }
}

template <int C, int S, bool PERMUTED, typename T, typename A>
ISA_INLINE void grad_columns(const LaneGrad<T>& grad, const LaneRow<A>& x, int64_t width, Vec<A> (&sum)[C][S]) {
  constexpr int L = kLanes<A>;
  for (int64_t j = 0; j < width; ++j) {
    const Vec<A> g = grad[j];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      const Vec<A> lanes = load(x.tape + j * x.step * L + x.columns[s]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) multiply_add(sum[c][s], g, PERMUTED ? permute<A>(lanes, x.from[c]) : lanes);
    }
  }
}

// The rows of outputs that meet some entries of the weight on a tape.
template <typename T>
struct LaneBand {
  const Accumulator<T>* tape;  // row 0 of outputs, row r and channel 0 of the weight
  const T* grad;
  int64_t grad_row, grad_distance, lanes;
  int64_t rows;
};

template <int C, int S, LaneColumns COLUMNS, typename T, typename G>
ISA_TARGET void grad_lanes(const ConvWeightGradJob<T>& job, const LaneBand<G>& band, const int64_t* columns,
                           const typename VectorOf<Accumulator<T>>::mask* from, Accumulator<T>* partial, int64_t channel_stride) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  Vec<A> sum[C][S] = {};
  for (int64_t i = 0; i < band.rows; ++i) {
    const LaneGrad<G> grad{band.grad + i * band.grad_row, band.grad_distance, between(0, band.lanes), band.lanes == L};
    const LaneRow<A> row{band.tape + i * pass.read_step[0] * job.blocks->pitch * L, columns, from, pass.read_step[1]};
    if constexpr (COLUMNS == LaneColumns::three) grad_three_columns<C>(grad, row, pass.size[1], sum);
    else grad_columns<C, S, COLUMNS == LaneColumns::any>(grad, row, pass.size[1], sum);
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c)
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) {
      A* const to = partial + c * channel_stride + s * L;
      store(to, load(to) + sum[c][s]);
    }
}

// Some rows of the weight, [channel][row][column] of `partial`.
template <int C, typename T, typename G>
ISA_INLINE void grad_channels(const ConvWeightGradJob<T>& job, const LaneWork<T>& work, LaneBand<G> band, int64_t row_begin,
                              int64_t row_end, int64_t channel, Accumulator<T>* partial) {
  constexpr int L = kLanes<Accumulator<T>>;
  const auto* const from = work.from + channel;
  const int64_t columns = work.columns.size(), size = work.rows.size() * columns * L;
  const auto* const tape = band.tape;
  for (int64_t r = row_begin; r < row_end; ++r) {
    band.tape = tape + work.rows[r];
    Accumulator<T>* to = partial + channel * size + r * columns * L;
    if (work.way == LaneColumns::three) {
      grad_lanes<C, 3, LaneColumns::three>(job, band, work.columns.data(), from, to, size);
      continue;
    }
    for (int64_t s = 0; s < columns; s += 3, to += 3 * L) {
      const int64_t* const at = work.columns.data() + s;
      switch (columns - s) {
        case 1: grad_lanes<C, 1, LaneColumns::any>(job, band, at, from, to, size); break;
        case 2: grad_lanes<C, 2, LaneColumns::any>(job, band, at, from, to, size); break;
        default: grad_lanes<C, 3, LaneColumns::any>(job, band, at, from, to, size);
      }
    }
  }
}

// All entries of depthwise filters, wherever they are on the tape.
template <int S, typename T, typename G>
ISA_INLINE void grad_straight(int64_t wanted, const ConvWeightGradJob<T>& job, const LaneBand<G>& band, const int64_t* entries,
                              Accumulator<T>* partial) {
  if (wanted == S) return grad_lanes<1, S, LaneColumns::straight>(job, band, entries, nullptr, partial, 0);
  if constexpr (S > 1) grad_straight<S - 1>(wanted, job, band, entries, partial);
}

constexpr int64_t kGradEntries = 9;  // at once, at most

template <typename T, typename G>
ISA_INLINE void grad_band(const ConvWeightGradJob<T>& job, const LaneWork<T>& work, const LaneBand<G>& band, int64_t slice,
                          Accumulator<T>* partial) {
  constexpr int L = kLanes<Accumulator<T>>;
  const int64_t channels = job.pass->channels, rows = work.rows.size();
  if (work.way == LaneColumns::straight) {
    const int64_t count = work.entries.size();
    for (int64_t e = 0; e < count; e += kGradEntries)
      grad_straight<kGradEntries>(std::min(kGradEntries, count - e), job, band, work.entries.data() + e, partial + e * L);
    return;
  }
  const int64_t begin = rows * slice / job.slices, end = rows * (slice + 1) / job.slices;
  for (int64_t c = 0; c < channels; c += kGradChannels) switch (channels - c) {
      case 1: grad_channels<1>(job, work, band, begin, end, c, partial); break;
      case 2: grad_channels<2>(job, work, band, begin, end, c, partial); break;
      case 3: grad_channels<3>(job, work, band, begin, end, c, partial); break;
      default: grad_channels<4>(job, work, band, begin, end, c, partial);
    }
}

template <typename T>
ISA_TARGET void conv_lanes_weight_grad(const ConvWeightGradJob<T>& job, int64_t task_begin, int64_t task_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const LaneBlocks& blocks = *job.blocks;
  LaneWork<T> work(pass, blocks);
  const int64_t taps = blocks.packed / L, width = pass.size[1];
  const bool last = job.grad.channel_stride == 1;
  for (int64_t task = task_begin; task < task_end; ++task) {
    const int64_t slice = task % job.slices;
    const LaneBlock<A> block(pass, blocks, task / job.slices);
    A* const partial = work.packed;
    std::fill(partial, partial + taps * L, A{0});
    for (int64_t n = 0; n < job.x.batch; ++n)
      for (int64_t row = 0; row < pass.size[0]; row += job.rows) {
        const int64_t rows = std::min(job.rows, pass.size[0] - row);
        fill_lanes(pass, blocks, job.x, block, n, row * pass.read_step[0] + pass.least(0),
                   (rows - 1) * pass.read_step[0] + pass.reach(0) + 1, work.tape);
        const T* const grad = job.grad.data + n * job.grad.batch_stride + block.filter * job.grad.channel_stride +
                              row * job.grad.row_stride;
        if (last) {
          const LaneBand<T> band{work.tape, grad, job.grad.row_stride, job.grad.pixel_stride, block.filters, rows};
          grad_band(job, work, band, slice, partial);
        } else {
          onto_tape(grad, job.grad.channel_stride, block.filters, rows * width, work.line, width, width);
          grad_band(job, work, LaneBand<A>{work.tape, work.line, width * L, L, L, rows}, slice, partial);
        }
      }
    const int64_t size = work.rows.size() * work.columns.size(), row_size = work.columns.size();
    const int64_t begin = work.rows.size() * slice / job.slices * row_size;
    const int64_t end = work.rows.size() * (slice + 1) / job.slices * row_size;
    for (int64_t l = 0; l < block.filters; ++l)
      for (int64_t c = 0; c < pass.channels; ++c)
        for (int64_t t = begin; t < end; ++t)
          job.weight_grad[(block.filter + l) * taps + c * size + t] = partial[(c * size + t) * L + l];
  }
}
