// Vectors over filters, those of neighbouring groups together:
//
//   y[p][lane] = sum_{c, r, s} weight[lane, c, r, s] x[p read_step + (row[r], column[s])][channel(lane, c)]
//
// for a block of filters, one a lane. The channels that a block reads lie on a tape, one vector a pixel, padded; lane l takes
// its group's channel c by a permutation. Channels-last images are copied onto the tape, planar ones transposed.

// Which lanes a block has, and which channels they read.
template <typename A>
struct LaneBlock {
  static constexpr int L = kLanes<A>;
  int64_t filter, filters;    // lanes
  int64_t channel, channels;  // on the tape
  int64_t group, lead;        // of the first lane, and how far into its group that is

  LaneBlock(const ConvPass& pass, const LaneBlocks& blocks, int64_t block) {
    group = block / blocks.parts * blocks.groups;
    const int64_t groups = std::min(blocks.groups, pass.groups - group), part = block % blocks.parts;
    lead = pass.filters * part / blocks.parts;
    filters = blocks.parts > 1 ? pass.filters * (part + 1) / blocks.parts - lead : groups * pass.filters;
    filter = group * pass.filters + lead;
    channel = group * pass.channels, channels = groups * pass.channels;
  }
};

// packed[r][c][s][lane]
template <typename T>
ISA_TARGET void pack_lanes(const ConvJob<T>& job, int64_t block_index, Accumulator<T>* packed) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const LaneBlock<A> block(pass, *job.blocks, block_index);
  const WeightStrides& stride = job.weight.stride;
  const A* of_lane[L];
  for (int64_t l = 0; l < block.filters; ++l) {
    const int64_t f = block.lead + l;
    of_lane[l] = job.weight.data + (block.group + f / pass.filters) * stride.group + f % pass.filters * stride.filter;
  }
  const int64_t columns = pass.steps[1].size();
  for (const Step& r : pass.steps[0])
    for (int64_t c = 0; c < pass.channels; ++c) {
      const int64_t row = c * stride.channel + r.k * stride.row;
      for (int64_t s = 0; s < columns; ++s, packed += L) {
        const int64_t at = row + pass.steps[1][s].k;
        for (int64_t l = 0; l < L; ++l) packed[l] = l < block.filters ? of_lane[l][at] : A{0};
      }
    }
}

// count pixels of consecutive memory per channel become vectors over channels, rows of `width` of them `pitch` apart.
template <typename T>
ISA_INLINE void onto_tape(const T* from, int64_t channel_stride, int64_t channels, int64_t count, Accumulator<T>* line,
                          int64_t width, int64_t pitch) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  int64_t column = 0;
  for (int64_t p = 0; p < count; p += L) {
    const int64_t some = std::min<int64_t>(L, count - p);
    Vec<A> v[L] = {};
    if (channels == L && some == L) {
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) v[i] = load(from + i * channel_stride + p);
    } else {
      const Between lanes = between(0, some);
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i)
        if (i < channels) v[i] = load_between(from + i * channel_stride + p, lanes);
    }
    transpose<A>(v);
    if (column + L <= width) {
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i)
        if (i < some) store(line + (column + i) * L, v[i]);
      column += some;
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) {
        if (i >= some) break;
        if (column == width) column = 0, line += pitch * L;
        store(line + column++ * L, v[i]);
      }
    }
    if (column == width) column = 0, line += pitch * L;
  }
}

// Source rows [first, first + rows) of a block's channels, zeros where there are none. The columns beside the image are zeros
// already.
template <typename T>
ISA_INLINE void fill_lanes(const ConvPass& pass, const LaneBlocks& blocks, const Images<const T>& x,
                           const LaneBlock<Accumulator<T>>& block, int64_t n, int64_t first, int64_t rows, Accumulator<T>* tape) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const int64_t pitch = blocks.pitch, left = pass.least(1);
  const int64_t begin = std::max<int64_t>(0, left), width = std::min(x.width, left + pitch) - begin;
  const int64_t top = std::clamp<int64_t>(-first, 0, rows), bottom = std::clamp<int64_t>(x.height - first, top, rows);
  std::fill(tape, tape + top * pitch * L, A{0});
  std::fill(tape + bottom * pitch * L, tape + rows * pitch * L, A{0});
  if (width <= 0) return;
  const T* from = x.data + n * x.batch_stride + block.channel * x.channel_stride + (first + top) * x.row_stride +
                  begin * x.pixel_stride;
  A* to = tape + (top * pitch + begin - left) * L;
  if (x.channel_stride == 1) {
    const Between lanes = between(0, block.channels);
    for (int64_t i = top; i < bottom; ++i, from += x.row_stride, to += pitch * L)
      for (int64_t j = 0; j < width; ++j)
        store(to + j * L, block.channels == L ? load(from + j * x.pixel_stride) : load_between(from + j * x.pixel_stride, lanes));
  } else if (x.row_stride == width) {
    onto_tape(from, x.channel_stride, block.channels, (bottom - top) * width, to, width, pitch);
  } else {
    for (int64_t i = top; i < bottom; ++i, from += x.row_stride, to += pitch * L)
      onto_tape(from, x.channel_stride, block.channels, width, to, width, pitch);
  }
}

// What a row of outputs reads: vectors on the tape and of the weight.
template <typename A>
struct LaneTaps {
  const A* tape;  // of output 0
  const A* weight;
  const typename VectorOf<A>::mask* from;  // by channel
  const int64_t* rows;                     // on the tape
  const int64_t* columns;
  int64_t row_count, column_count, channels, step;
};

// Three neighbouring columns: every vector of the tape is permuted once for all outputs that meet it.
template <int V, int STEP, typename A>
ISA_INLINE void three_columns(const LaneTaps<A>& taps, int64_t first, Vec<A> (&sum)[V]) {
  constexpr int L = kLanes<A>;
  const A* weight = taps.weight;
  for (int64_t r = 0; r < taps.row_count; ++r) {
    const A* const x = taps.tape + taps.rows[r] + first * STEP * L;
    for (int64_t c = 0; c < taps.channels; ++c, weight += 3 * L) {
      const Vec<A> w[3] = {load(weight), load(weight + L), load(weight + 2 * L)};
      const auto from = taps.from[c];
#pragma GCC unroll 33
      for (int p = 0; p < (V - 1) * STEP + 3; ++p) {
        const Vec<A> lanes = permute<A>(load(x + p * L), from);
#pragma GCC unroll 4
        for (int s = 0; s < 3; ++s) {
          const bool met = p >= s && (p - s) % STEP == 0 && (p - s) / STEP < V;
          if (met) multiply_add(sum[met ? (p - s) / STEP : 0], w[s], lanes);
        }
      }
    }
  }
}

template <int V, bool PERMUTED, typename A>
ISA_INLINE void any_columns(const LaneTaps<A>& taps, int64_t first, Vec<A> (&sum)[V]) {
  constexpr int L = kLanes<A>;
  const A* weight = taps.weight;
  for (int64_t r = 0; r < taps.row_count; ++r) {
    const A* const row = taps.tape + taps.rows[r] + first * taps.step * L;
    for (int64_t c = 0; c < taps.channels; ++c)
      for (int64_t s = 0; s < taps.column_count; ++s, weight += L) {
        const A* const x = row + taps.columns[s];
        const Vec<A> w = load(weight);
#pragma GCC unroll 16
        for (int v = 0; v < V; ++v) {
          const Vec<A> lanes = load(x + v * taps.step * L);
          if constexpr (PERMUTED) multiply_add(sum[v], w, permute<A>(lanes, taps.from[c]));
          else multiply_add(sum[v], w, lanes);
        }
      }
  }
}

// Vectors over channels become pixels of consecutive memory per channel; a residual lies as these do.
template <typename T>
ISA_INLINE void off_line(const ConvJob<T>& job, const Accumulator<T>* line, int64_t count, T* to, int64_t channels) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const int64_t channel_stride = job.y.channel_stride;
  for (int64_t p = 0; p < count; p += L, line += L * L, to += L) {
    const int64_t some = std::min<int64_t>(L, count - p);
    Vec<A> v[L] = {};
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i)
      if (i < some) v[i] = load(line + i * L);
    transpose<A>(v);
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
      if (i >= channels) break;
      T* const at = to + i * channel_stride;
      if (job.residual) v[i] = finished(job, v[i], Vec<A>{}, at, 1, some);
      some == L ? store(at, v[i]) : store_some(at, v[i], some);
    }
  }
}

enum class LaneColumns { three, three_of_two, any, straight };  // three_of_two: in steps of two; straight: lane l reads lane l

constexpr int kLanePixels = kConvRegisters / 2;  // at once, at most

template <int V, LaneColumns COLUMNS, bool IN_PLACE, typename T, typename Out>
ISA_INLINE void lane_pixels(const ConvJob<T>& job, const LaneTaps<Accumulator<T>>& taps, Vec<Accumulator<T>> bias, int64_t first,
                            Out* to, int64_t distance, int64_t lanes) {
  using A = Accumulator<T>;
  Vec<A> sum[V] = {};
  if constexpr (COLUMNS == LaneColumns::three) three_columns<V, 1>(taps, first, sum);
  else if constexpr (COLUMNS == LaneColumns::three_of_two) three_columns<V, 2>(taps, first, sum);
  else any_columns<V, COLUMNS == LaneColumns::any>(taps, first, sum);
#pragma GCC unroll 16
  for (int v = 0; v < V; ++v) {
    Out* const at = to + v * distance;
    Vec<A> value = sum[v] + bias;
    if (!job.residual) value = activated(job, value);
    else if constexpr (IN_PLACE) value = finished(job, value, Vec<A>{}, at, 1, lanes);  // off_line does it otherwise
    lanes == kLanes<A> ? store(at, value) : store_some(at, value, lanes);
  }
}

template <int V, LaneColumns COLUMNS, bool IN_PLACE, typename T, typename Out>
ISA_INLINE void lane_pixels_of(int64_t wanted, const ConvJob<T>& job, const LaneTaps<Accumulator<T>>& taps,
                               Vec<Accumulator<T>> bias, int64_t first, Out* to, int64_t distance, int64_t lanes) {
  if (wanted == V) return lane_pixels<V, COLUMNS, IN_PLACE>(job, taps, bias, first, to, distance, lanes);
  if constexpr (V > 1) lane_pixels_of<V - 1, COLUMNS, IN_PLACE>(wanted, job, taps, bias, first, to, distance, lanes);
}

template <LaneColumns COLUMNS, bool IN_PLACE, typename T, typename Out>
ISA_TARGET void lane_row_of(const ConvJob<T>& job, const LaneTaps<Accumulator<T>>& taps, const Accumulator<T>* bias, Out* to,
                            int64_t distance, int64_t lanes) {
  const int64_t width = job.pass->size[1], parts = (width + kLanePixels - 1) / kLanePixels;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = width * part / parts, end = width * (part + 1) / parts;
    lane_pixels_of<kLanePixels, COLUMNS, IN_PLACE>(end - begin, job, taps, load(bias), begin, to + begin * distance, distance, lanes);
  }
}

// A row of outputs, shared out evenly; IN_PLACE: to y itself.
template <bool IN_PLACE, typename T, typename Out>
ISA_INLINE void lane_row(const ConvJob<T>& job, LaneColumns way, const LaneTaps<Accumulator<T>>& taps, const Accumulator<T>* bias,
                         Out* to, int64_t distance, int64_t lanes) {
  switch (way) {
    case LaneColumns::three: return lane_row_of<LaneColumns::three, IN_PLACE>(job, taps, bias, to, distance, lanes);
    case LaneColumns::three_of_two: return lane_row_of<LaneColumns::three_of_two, IN_PLACE>(job, taps, bias, to, distance, lanes);
    case LaneColumns::any: return lane_row_of<LaneColumns::any, IN_PLACE>(job, taps, bias, to, distance, lanes);
    default: return lane_row_of<LaneColumns::straight, IN_PLACE>(job, taps, bias, to, distance, lanes);
  }
}

// What all blocks of a pass have in common, for one thread.
template <typename T>
struct LaneWork {
  using A = Accumulator<T>;
  static constexpr int L = kLanes<A>;
  using Lanes = typename VectorOf<A>::mask;
  std::vector<int64_t> rows, columns, entries;  // where the weight's rows, its columns, and both together are on the tape
  LaneColumns way;
  std::unique_ptr<A[]> memory;
  Lanes* from;  // [channel]
  A *tape, *line, *packed;

  ISA_TARGET LaneWork(const ConvPass& pass, const LaneBlocks& blocks) {
    for (const Step& r : pass.steps[0]) rows.push_back((r.offset - pass.least(0)) * blocks.pitch * L);
    for (const Step& s : pass.steps[1]) columns.push_back((s.offset - pass.least(1)) * L);
    for (int64_t r : rows)
      for (int64_t s : columns) entries.push_back(r + s);
    const bool neighbours = columns.size() == 3 && columns[1] == L && columns[2] == 2 * L;
    way = pass.channels == 1 && pass.filters == 1 ? LaneColumns::straight
          : neighbours && pass.read_step[1] == 1  ? LaneColumns::three
          : neighbours && pass.read_step[1] == 2  ? LaneColumns::three_of_two
                                                  : LaneColumns::any;
    const int64_t tape_size = blocks.tape_rows * blocks.pitch * L, line_size = blocks.rows * pass.size[1] * L;
    memory.reset(new A[pass.channels * L + tape_size + line_size + blocks.packed + 64 / sizeof(A)]);
    from = reinterpret_cast<Lanes*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) & ~uintptr_t{63});
    tape = reinterpret_cast<A*>(from + pass.channels);
    line = tape + tape_size;
    packed = line + line_size;
    for (int64_t c = 0; c < pass.channels; ++c)
      for (int64_t l = 0; l < L; ++l)
        from[c][l] = blocks.parts > 1 ? c : std::min(l / pass.filters, blocks.groups - 1) * pass.channels + c;
    std::fill(tape, tape + tape_size, A{0});
  }
};

template <typename T>
ISA_TARGET void conv_lanes(const ConvJob<T>& job, int64_t task_begin, int64_t task_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.pass;
  const LaneBlocks& blocks = *job.blocks;
  LaneWork<T> work(pass, blocks);
  const int64_t bands = job.bands;
  // Blocks of channels-last images read parts of the same lines: they take turns at a band while it is in the cache. Of planar
  // images a block reads planes of its own: it keeps its weights at hand.
  const bool block_by_block = job.x.channel_stride != 1, last = job.y.channel_stride == 1;
  std::vector<A> packed(job.packed ? 0 : (block_by_block ? 1 : blocks.count) * blocks.packed);
  std::vector<int64_t> held(block_by_block ? 1 : blocks.count, -1);  // whose weights are packed
  for (int64_t task = task_begin; task < task_end; ++task) {
    const int64_t b = block_by_block ? task / (job.x.batch * bands) : task % blocks.count;
    const int64_t n = block_by_block ? task / bands % job.x.batch : task / (blocks.count * bands);
    const int64_t row = (block_by_block ? task % bands : task / blocks.count % bands) * job.rows;
    const int64_t rows = std::min(job.rows, pass.size[0] - row);
    if (rows <= 0) continue;
    const LaneBlock<A> block(pass, blocks, b);
    const int64_t place = block_by_block ? 0 : b;
    if (!job.packed && held[place] != b) pack_lanes(job, b, packed.data() + place * blocks.packed), held[place] = b;
    const A* const weight = job.packed ? job.packed + b * blocks.packed : packed.data() + place * blocks.packed;
    fill_lanes(pass, blocks, job.x, block, n, row * pass.read_step[0] + pass.least(0),
               (rows - 1) * pass.read_step[0] + pass.reach(0) + 1, work.tape);
    alignas(64) A bias[L] = {};
    if (job.bias) std::copy(job.bias + block.filter, job.bias + block.filter + block.filters, bias);
    T* const to = job.y.data + n * job.y.batch_stride + block.filter * job.y.channel_stride +
                  pass.first[1] * job.y.pixel_stride + (pass.first[0] + row * pass.step[0]) * job.y.row_stride;
    const int64_t next_row = pass.step[0] * job.y.row_stride, next_pixel = pass.step[1] * job.y.pixel_stride;
    for (int64_t i = 0; i < rows; ++i) {
      const LaneTaps<A> taps{work.tape + i * pass.read_step[0] * blocks.pitch * L,
                             weight,
                             work.from,
                             work.rows.data(),
                             work.columns.data(),
                             static_cast<int64_t>(work.rows.size()),
                             static_cast<int64_t>(work.columns.size()),
                             pass.channels,
                             pass.read_step[1]};
      if (last) lane_row<true>(job, work.way, taps, bias, to + i * next_row, next_pixel, block.filters);
      else lane_row<false>(job, work.way, taps, bias, work.line + i * pass.size[1] * L, L, L);
    }
    if (!last) off_line(job, work.line, rows * pass.size[1], to, block.filters);
  }
}
