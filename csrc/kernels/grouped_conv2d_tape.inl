// Vectors over output positions. The rows of one group that a band of output rows needs lie on a tape: padded, in one run of
// memory per channel and phase of the stride. On it a tap (c, r, s) is a fixed distance, and all output positions of the band
// are one line, p = i pitch + j:
//
//   y[k, p] = sum over taps of weight[k, tap] tape[p + on_tape(tap)]
//
// whatever the image's width. Sums of some filters at some vectors of positions stay in registers while the taps pass.
// Positions past the end of an output row are computed, and not stored.

// Vectors of positions at once: sums, one weight a filter and the loaded positions fit the registers.
template <int K>
constexpr int kConvVectors = K == 1 ? kConvRegisters / 2 - 4 : (kConvRegisters - K - 1) / K;

// What the taps of some filters read: on the tape, and of the weight. Both lists are of one channel.
template <typename A>
struct Taps {
  const A* tape;
  const int64_t* on_tape;
  const A* weight;
  const int64_t* of_weight;
  int64_t filter_stride, count;
  int64_t channels, plane, channel_stride;  // from channel to channel: of the tape, of the weight
  const int64_t* inputs;                    // which channels of the tape; null: the first ones
};

template <int K, int V, typename A>
ISA_INLINE void positions(const Taps<A>& taps, int64_t first, A* line, int64_t line_stride) {
  constexpr int L = kLanes<A>;
  Vec<A> sum[K][V] = {};
  const A* weights = taps.weight;
  for (int64_t c = 0; c < taps.channels; ++c, weights += taps.channel_stride) {
    const A* const plane = taps.tape + (taps.inputs ? taps.inputs[c] : c) * taps.plane + first;
    for (int64_t t = 0; t < taps.count; ++t) {
      const A* const from = plane + taps.on_tape[t];
      const A* const weight = weights + taps.of_weight[t];
      Vec<A> w[K];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) w[k] = broadcast(weight[k * taps.filter_stride]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) {
        const Vec<A> x = load(from + v * L);
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) multiply_add(sum[k][v], w[k], x);
      }
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k)
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) store(line + k * line_stride + first + v * L, sum[k][v]);
}

// All vectors of a line, shared out evenly.
template <int K, int V, typename A>
ISA_INLINE void vectors_of(int64_t wanted, const Taps<A>& taps, int64_t first, A* line, int64_t line_stride) {
  if (wanted == V) return positions<K, V>(taps, first, line, line_stride);
  if constexpr (V > 1) vectors_of<K, V - 1>(wanted, taps, first, line, line_stride);
}

template <int K, typename A>
ISA_TARGET void line_of(const Taps<A>& taps, int64_t vectors, A* line, int64_t line_stride) {
  constexpr int L = kLanes<A>, most = kConvVectors<K>;
  const int64_t parts = (vectors + most - 1) / most;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = vectors * part / parts, end = vectors * (part + 1) / parts;
    vectors_of<K, most>(end - begin, taps, begin * L, line, line_stride);
  }
}

// Which columns of a tape's row are inside of the source, and where the first of them is found: column u of the tape is column
// first + u step of the source.
struct Columns {
  int64_t begin, end, source, distance;

  Columns(int64_t width, int64_t pixel_stride, int64_t first, int64_t step, int64_t pitch)
      : begin(std::min(pitch, first >= 0 ? 0 : (-first + step - 1) / step)),
        end(std::clamp<int64_t>(first >= width ? 0 : (width - first + step - 1) / step, begin, pitch)),
        source((first + begin * step) * pixel_stride),
        distance(step * pixel_stride) {}
};

// One row of the tape, 0 outside of the source. Up to a vector is written past its end, where what follows is written later.
template <typename T>
ISA_INLINE void tape_row(const T* row, const Columns& columns, int64_t pitch, Accumulator<T>* to) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  int64_t u = 0;
  for (; u < columns.begin; ++u) to[u] = A{0};
  const T* from = row + columns.source;
  if (columns.distance == 1)
    for (; u < columns.end; u += L, from += L) store(to + u, columns.end - u < L ? load_some(from, columns.end - u) : load(from));
  else
    for (; u < columns.end; ++u, from += columns.distance) to[u] = widen(*from);
  for (; u < pitch; u += L) store(to + u, Vec<A>{});
}

// Rows [first_row, first_row + rows) of outputs and what they reach.
template <typename T>
ISA_INLINE void fill_tape(const ConvPass& pass, const Tape& tape, const Images<const T>& x, int64_t n, int64_t g,
                          int64_t first_row, int64_t rows, Accumulator<T>* to) {
  using A = Accumulator<T>;
  for (const Tape::Phase& phase : tape.phases) {
    const Columns columns(x.width, x.pixel_stride, phase.origin[1], pass.read_step[1], tape.pitch);
    for (int64_t c = 0; c < pass.channels; ++c, to += tape.plane) {
      const T* const plane = x.data + n * x.batch_stride + (g * pass.channels + c) * x.channel_stride;
      A* row = to;
      for (int64_t t = 0; t < rows + tape.reach; ++t, row += tape.pitch) {
        const int64_t i = (first_row + t) * pass.read_step[0] + phase.origin[0];
        if (i < 0 || i >= x.height) std::fill(row, row + tape.pitch, A{0});
        else tape_row(plane + i * x.row_stride, columns, tape.pitch, row);
      }
    }
  }
}

// The line of one filter into the rows of its plane.
template <typename T>
ISA_INLINE void store_line(const ConvJob<T>& job, int64_t n, int64_t channel, int64_t first_row, int64_t rows,
                           const Accumulator<T>* line) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const Vec<A> bias = broadcast(job.bias ? job.bias[channel] : A{0});
  const int64_t distance = pass.step[1] * job.y.pixel_stride, width = pass.size[1];
  T* const plane = job.y.data + n * job.y.batch_stride + channel * job.y.channel_stride + pass.first[1] * job.y.pixel_stride;
  for (int64_t i = 0; i < rows; ++i, line += job.tape->pitch) {
    T* const to = plane + (pass.first[0] + (first_row + i) * pass.step[0]) * job.y.row_stride;
    for (int64_t j = 0; j < width; j += L) {
      const int64_t some = std::min<int64_t>(L, width - j);
      T* const at = to + j * distance;
      store_spaced(at, distance, finished(job, load(line + j), bias, at, distance, some), some);
    }
  }
}

// Lines of one to kConvFilters filters.
template <typename A>
ISA_INLINE void lines_of(int64_t filters, const Taps<A>& taps, int64_t vectors, A* line, int64_t line_stride) {
  switch (filters) {
    case 1: return line_of<1>(taps, vectors, line, line_stride);
    case 2: return line_of<2>(taps, vectors, line, line_stride);
    case 3: return line_of<3>(taps, vectors, line, line_stride);
    default: return line_of<4>(taps, vectors, line, line_stride);
  }
}

template <typename T>
ISA_TARGET void conv_tape(const ConvJob<T>& job, int64_t task_begin, int64_t task_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const Tape& tape = *job.tape;
  const WeightStrides& stride = job.weight.stride;
  const int64_t bands = job.bands, line_size = (tape.rows * tape.pitch + L - 1) / L * L + L;
  const int64_t taps = static_cast<int64_t>(pass.steps[0].size() * pass.steps[1].size());
  const std::unique_ptr<A[]> memory(new A[tape.size + kConvFilters * line_size]);  // what no row fills, no output needs
  A* const source = memory.get();
  A* const line = source + tape.size;
  for (int64_t task = task_begin; task < task_end; ++task) {
    const int64_t n = task / (pass.groups * bands), g = task / bands % pass.groups, first_row = task % bands * job.rows;
    const int64_t rows = std::min(job.rows, pass.size[0] - first_row);
    if (rows <= 0) continue;
    const int64_t vectors = ((rows - 1) * tape.pitch + pass.size[1] + L - 1) / L;
    fill_tape(pass, tape, job.x, n, g, first_row, rows, source);
    for (int64_t f = 0; f < pass.filters; f += kConvFilters) {
      const int64_t filters = std::min(kConvFilters, pass.filters - f);
      const A* const weight = job.weight.data + g * stride.group + f * stride.filter;
      lines_of<A>(filters, {source, tape.on_tape.data(), weight, tape.of_weight.data(), stride.filter, taps, pass.channels, tape.plane,
                            stride.channel, nullptr},
                  vectors, line, line_size);
      for (int64_t k = 0; k < filters; ++k) store_line(job, n, g * pass.filters + f + k, first_row, rows, line + k * line_size);
    }
  }
}
