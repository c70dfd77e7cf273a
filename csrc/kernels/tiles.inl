// A tile of points between the tensor and a buffer [channels, columns] in which the points of a channel lie side by side:
// vectors run over points whatever the layout, so that filters never have to be a multiple of anything.

struct Run {  // the points of a tile
  int64_t image, images, pixel, pixels;
  int64_t points() const { return images * pixels; }
};

inline Run run_of(const PointTiles& tiles, int64_t index, int64_t batch, int64_t pixels) {
  Run run;
  if (tiles.images_per_tile > 0) {
    run.image = index * tiles.images_per_tile;
    run.images = batch - run.image < tiles.images_per_tile ? batch - run.image : tiles.images_per_tile;
    run.pixel = 0;
    run.pixels = pixels;
  } else {
    run.image = index / tiles.tiles_per_image;
    run.images = 1;
    run.pixel = index % tiles.tiles_per_image * tiles.pixels_per_tile;
    run.pixels = pixels - run.pixel < tiles.pixels_per_tile ? pixels - run.pixel : tiles.pixels_per_tile;
  }
  return run;
}

inline int64_t mod(int64_t a, int64_t n) { return ((a % n) + n) % n; }

// Brings the points of a run into the second-level cache, a share at each call, while another run is computed.
struct Prefetch {
  const char* line = nullptr;
  int64_t lines = 0, stride = 0, left = 0, share = 0, at = 0;

  Prefetch() = default;
  template <typename T>
  Prefetch(const View<const T>& x, const Run& run, int64_t calls) {
    const T* begin = x.data + run.image * x.batch_stride + run.pixel * x.pixel_stride;
    const int64_t size = static_cast<int64_t>(sizeof(T));
    int64_t length, count;  // pieces of memory
    if (run.images > 1) {
      length = x.rows() ? x.pixels * x.pixel_stride : x.channels * x.channel_stride;
      count = run.images, stride = x.batch_stride * size;
    } else if (x.rows()) {
      length = x.channels, count = run.pixels, stride = x.pixel_stride * size;
    } else {
      length = run.pixels, count = x.channels, stride = x.channel_stride * size;
    }
    *this = Prefetch({begin, (length * size + 63) / 64, stride, count}, calls);
  }
  Prefetch(const Ahead& of, int64_t calls)
      : line(static_cast<const char*>(of.first)), lines(of.lines), stride(of.stride), left(of.lines * of.pieces),
        share((left + calls - 1) / calls) {}

  void fetch() {
    for (int64_t n = left < share ? left : share; n > 0; --n, --left) {
      __builtin_prefetch(line + at * 64, 0, 2);
      if (++at == lines) at = 0, line += stride;
    }
  }
};

// To: what the points are kept as, T or its accumulator.
template <typename T, typename To>
ISA_TARGET void pack_plane(const T* from, int64_t n, To* to) {
  constexpr int L = kLanes<Accumulator<T>>;
  int64_t i = 0;
  for (; i + L <= n; i += L) store(to + i, load(from + i));
  if (i < n) store(to + i, load_some(from + i, n - i));
}

// Pixels of one image where they are too few for vectors; N > 0: that many, known to the compiler.
template <int N, typename From, typename To>
ISA_INLINE void copy_pixels(const From* from, int64_t n, To* to) {
  if constexpr (N > 0 && std::is_same_v<From, To>) {
    __builtin_memcpy(to, from, N * sizeof(To));
  } else {
    for (int64_t i = 0; i < (N > 0 ? N : n); ++i) to[i] = narrow<To>(widen(from[i]));
  }
}

template <int N, typename T, typename To>
ISA_INLINE void pack_images(const T* from, int64_t stride, int64_t images, int64_t pixels, To* to) {
  for (int64_t b = 0; b < images; ++b) copy_pixels<N>(from + b * stride, pixels, to + b * pixels);
}

// The channels [begin, end) of the tensor; channel c goes to row position[c] of the buffer. Columns from run.points() up to
// the next whole vector are zero.
template <typename T, typename To>
ISA_TARGET void pack_planes(const View<const T>& x, const Run& run, const int32_t* position, int64_t columns, To* buffer) {
  constexpr int L = kLanes<Accumulator<T>>;
  const int64_t points = run.points(), padded = (points + L - 1) / L * L;
  for (int64_t c = 0; c < x.channels; ++c) {
    To* to = buffer + position[c] * columns;
    const T* from = x.data + run.image * x.batch_stride + c * x.channel_stride + run.pixel * x.pixel_stride;
    if (run.images == 1) {
      pack_plane(from, run.pixels, to);
      continue;
    }
    if (run.pixels == 4) {
      pack_images<4>(from, x.batch_stride, run.images, 4, to);
    } else if (run.pixels % L == 0) {
      for (int64_t b = 0; b < run.images; ++b) pack_plane(from + b * x.batch_stride, run.pixels, to + b * run.pixels);
    } else {
      pack_images<0>(from, x.batch_stride, run.images, run.pixels, to);
    }
    for (int64_t i = points; i < padded; ++i) to[i] = To{};
  }
}

template <typename T, typename To>
ISA_TARGET void pack_rows(const View<const T>& x, const Run& run, const int32_t* position, int64_t columns, To* buffer) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const int64_t points = run.points();
  for (int64_t n = 0; n < points; n += L) {
    const T* row[L];
    const int64_t count = points - n < L ? points - n : L;
    for (int64_t r = 0; r < L; ++r) {
      const int64_t point = n + (r < count ? r : count - 1);
      row[r] = x.data + (run.image + point / run.pixels) * x.batch_stride + (run.pixel + point % run.pixels) * x.pixel_stride;
    }
    int64_t c = 0;
    if constexpr (std::is_same_v<T, BFloat16>) {  // two channels are turned as one
      for (; count == L && c + 2 * L <= x.channels; c += 2 * L) {
        Vec<A> v[L];
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) v[r] = load_words(row[r] + c);
        transpose<A>(v);
#pragma GCC unroll 16
        for (int l = 0; l < L; ++l) {
          const Word pair = reinterpret_cast<Word>(v[l]);
          store(buffer + position[c + 2 * l] * columns + n, reinterpret_cast<Vec<A>>(pair << 16));
          store(buffer + position[c + 2 * l + 1] * columns + n, reinterpret_cast<Vec<A>>(pair & 0xffff0000));
        }
      }
    }
    for (; c < x.channels; c += L) {
      const int64_t width = x.channels - c < L ? x.channels - c : L;
      Vec<A> v[L];
      if (width == L && count == L) {
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) v[r] = load(row[r] + c);
      } else {
        for (int r = 0; r < L; ++r) v[r] = r < count ? load_some(row[r] + c, width) : Vec<A>{};
      }
      transpose<A>(v);
      if (width == L) {
#pragma GCC unroll 16
        for (int l = 0; l < L; ++l) store(buffer + position[c + l] * columns + n, v[l]);
      } else {
        for (int64_t l = 0; l < width; ++l) store(buffer + position[c + l] * columns + n, v[l]);
      }
    }
  }
}

template <typename T, typename To>
ISA_TARGET void pack_points(const View<const T>& x, const Run& run, const int32_t* position, int64_t columns, To* buffer) {
  x.rows() ? pack_rows(x, run, position, columns, buffer) : pack_planes(x, run, position, columns, buffer);
}

// As what packed points are kept where they are only read: pairs of bfloat16 are multiplied as they are.
template <typename T>
using PackedPoint = std::conditional_t<HAS_PAIR_DOT && std::is_same_v<T, BFloat16>, BFloat16, Accumulator<T>>;

// `used` columns are written, those past the points as zeros.
template <typename T>
ISA_TARGET void pack_narrow(const View<const T>& x, const Run& run, const int32_t* position, int64_t columns, int64_t used,
                            PackedPoint<T>* to) {
  constexpr int L = kLanes<Accumulator<T>>;
  pack_points(x, run, position, columns, to);
  for (int64_t n = (run.points() + L - 1) / L * L; n < used; n += L)
    for (int64_t c = 0; c < x.channels; ++c) store(to + c * columns + n, Vec<Accumulator<T>>{});
}

// The channels of the output tensor listed, from consecutive rows of the buffer. Image by image: neighbouring channels of
// small images share cache lines.
template <int N, typename T>
ISA_INLINE void unpack_images(const Accumulator<T>* buffer, int64_t columns, const Run& run, const int32_t* channel,
                              int64_t count, const View<T>& y) {
  for (int64_t b = 0; b < run.images; ++b) {
    T* image = y.data + (run.image + b) * y.batch_stride;
    for (int64_t j = 0; j < count; ++j)
      copy_pixels<N>(buffer + j * columns + b * run.pixels, run.pixels, image + channel[j] * y.channel_stride);
  }
}

template <typename T>
ISA_TARGET void unpack_planes(const Accumulator<T>* buffer, int64_t columns, const Run& run, const int32_t* channel,
                              int64_t count, const View<T>& y) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  if (run.pixels == 4 && run.images > 1) return unpack_images<4>(buffer, columns, run, channel, count, y);
  for (int64_t b = 0; b < run.images; ++b) {
    for (int64_t j = 0; j < count; ++j) {
      const A* from = buffer + j * columns + b * run.pixels;
      T* to = y.data + (run.image + b) * y.batch_stride + channel[j] * y.channel_stride + run.pixel;
      int64_t i = 0;
      for (; i + L <= run.pixels; i += L) store(to + i, load(from + i));
      copy_pixels<0>(from + i, run.pixels - i, to + i);
    }
  }
}

// All channels of the output tensor; channel c lies in row c of the buffer.
template <typename T>
ISA_TARGET void unpack_rows(const Accumulator<T>* buffer, int64_t columns, const Run& run, const View<T>& y,
                            bool streaming) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const int64_t points = run.points();
  for (int64_t n = 0; n < points; n += L) {
    T* row[L];
    const int64_t count = points - n < L ? points - n : L;
    for (int64_t r = 0; r < count; ++r)
      row[r] = y.data + (run.image + (n + r) / run.pixels) * y.batch_stride + (run.pixel + (n + r) % run.pixels) * y.pixel_stride;
    int64_t c = 0;
    if (count == L) {
      if constexpr (std::is_same_v<T, BFloat16>) {  // two channels are turned as one, and fill a cache line
        for (; c + 2 * L <= y.channels; c += 2 * L) {
          Vec<A> v[L];
#pragma GCC unroll 16
          for (int l = 0; l < L; ++l) {
            const A* from = buffer + (c + 2 * l) * columns + n;
            v[l] = pair_of_bfloat16(load(from), load(from + columns));
          }
          transpose<A>(v);
#pragma GCC unroll 16
          for (int r = 0; r < L; ++r)
            streaming ? stream(reinterpret_cast<A*>(row[r] + c), v[r]) : store_words(row[r] + c, v[r]);
        }
      }
      for (; c + L <= y.channels; c += L) {
        Vec<A> v[L];
#pragma GCC unroll 16
        for (int l = 0; l < L; ++l) v[l] = load(buffer + (c + l) * columns + n);
        transpose<A>(v);
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) streaming ? stream(row[r] + c, v[r]) : store(row[r] + c, v[r]);
      }
    }
    for (; c < y.channels; ++c)
      for (int64_t r = 0; r < count; ++r) row[r][c] = narrow<T>(buffer[c * columns + n + r]);
  }
}

// The channels listed only, one value at a time: for problems so small that a tile's filters are shared out.
template <typename T>
ISA_TARGET void unpack_rows_of(const Accumulator<T>* buffer, int64_t columns, const Run& run, const int32_t* channel,
                               int64_t count, const View<T>& y) {
  for (int64_t b = 0; b < run.images; ++b)
    for (int64_t p = 0; p < run.pixels; ++p) {
      T* row = y.data + (run.image + b) * y.batch_stride + (run.pixel + p) * y.pixel_stride;
      for (int64_t j = 0; j < count; ++j) row[channel[j]] = narrow<T>(buffer[j * columns + b * run.pixels + p]);
    }
}

// A packed buffer [channels, columns] turned into rows, row_stride apart.
template <typename P, typename A>
ISA_TARGET void rows_from_planes(const A* buffer, int64_t channels, int64_t columns, int64_t points, P* rows, int64_t row_stride) {
  const View<P> view{rows, 1, channels, points, 0, 1, row_stride};
  unpack_rows(buffer, columns, Run{0, 1, 0, points}, view, false);
}

// The same straight from the tensor, where the images of the run are whole vectors.
template <typename T>
ISA_TARGET void rows_from_images(const View<const T>& x, const Run& run, PackedPoint<T>* rows, int64_t row_stride) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  for (int64_t c = 0; c < x.channels; c += L) {
    const int64_t width = x.channels - c < L ? x.channels - c : L;
    auto* to = rows + c;  // rows have room for a whole vector past the last channel
    for (int64_t b = 0; b < run.images; ++b) {
      const T* from = x.data + (run.image + b) * x.batch_stride + c * x.channel_stride + run.pixel;
      for (int64_t p = 0; p < run.pixels; p += L, to += L * row_stride) {
        Vec<A> v[L];
        if (width == L) {
#pragma GCC unroll 16
          for (int l = 0; l < L; ++l) v[l] = load(from + l * x.channel_stride + p);
        } else {
          for (int l = 0; l < L; ++l) v[l] = l < width ? load(from + l * x.channel_stride + p) : Vec<A>{};
        }
        transpose<A>(v);
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) store(to + r * row_stride, v[r]);
      }
    }
  }
}

#if HAS_PAIR_DOT
// Neighbouring channels of a packed buffer as pairs [inputs / 2, columns]. False where a value is infinite or NaN: the
// zeros that stand for weights outside a window would spread it, so such a run is left to the exact steps.
ISA_TARGET inline bool pair_up(const float* buffer, int64_t inputs, int64_t columns, Pair* pairs) {
  Word worst{};
  for (int64_t i = 0; i < inputs; i += 2) {
    const float *a = buffer + i * columns, *b = a + columns;
    for (int64_t n = 0; n < columns; n += kLanes<float>, pairs += kLanes<float>) {
      const Word low = reinterpret_cast<Word>(load(a + n)) >> 16, high = reinterpret_cast<Word>(load(b + n)) & 0xffff0000;
      worst |= reinterpret_cast<Word>((low & 0x7f80) == 0x7f80) | reinterpret_cast<Word>((high & 0x7f800000) == 0x7f800000);
      store(pairs, low | high);
    }
  }
  uint32_t any = 0;
  for (int l = 0; l < kLanes<float>; ++l) any |= worst[l];
  return any == 0;
}
#endif
