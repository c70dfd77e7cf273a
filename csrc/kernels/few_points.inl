// The transform and both gradients where there are too few points to fill vectors with them: vectors run over the taps k, and
// the weight is read once, where it lies.
//
//   y[o, p]  = bias[o] + sum_k weight[o, k] * x[p, start[o] + k]      dx[p, start[o] + k] = sum_o weight[o, k] * grad[p, o]
//   dweight[o, k] = sum_p grad[p, o] * x[p, start[o] + k]
//
// The rows of the points are copied to a buffer in which the first channels follow once more after the last, so that no
// window wraps.

template <typename A>
constexpr int64_t few_row(int64_t channels, int64_t width) {
  return channels + width + kLanes<A>;
}

// Pixels of one planar image as rows.
template <typename T>
ISA_TARGET void few_pixels(const T* from, int64_t channel_stride, int64_t channels, int64_t pixels, int64_t row, Accumulator<T>* to) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  for (; pixels >= L; pixels -= L, from += L, to += L * row) {
    int64_t c = 0;
    for (; c + L <= channels; c += L) {
      Vec<A> v[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; ++l) v[l] = load(from + (c + l) * channel_stride);
      transpose<A>(v);
#pragma GCC unroll 16
      for (int p = 0; p < L; ++p) store(to + p * row + c, v[p]);
    }
    for (; c < channels; ++c)
      for (int p = 0; p < L; ++p) to[p * row + c] = widen(from[c * channel_stride + p]);
  }
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t p = 0; p < pixels; ++p) to[p * row + c] = widen(from[c * channel_stride + p]);
}

template <typename T>
ISA_TARGET void few_rows(const View<const T>& x, int64_t point_begin, int64_t point_end, int64_t row, int64_t filled,
                         Accumulator<T>* to) {
  using A = Accumulator<T>;
  for (int64_t n = point_begin, pixels; n < point_end; n += pixels) {
    const int64_t pixel = n % x.pixels;
    pixels = std::min(point_end - n, x.pixels - pixel);
    const T* from = x.data + n / x.pixels * x.batch_stride + pixel * x.pixel_stride;
    A* const first = to + (n - point_begin) * row;
    if (x.rows()) {
      for (int64_t p = 0; p < pixels; ++p)
        for (int64_t c = 0; c < x.channels; ++c) first[p * row + c] = widen(from[p * x.pixel_stride + c]);
    } else {
      few_pixels(from, x.channel_stride, x.channels, pixels, row, first);
    }
  }
  if (filled == x.channels) return;
  const int64_t again = std::min(filled, 2 * x.channels);
  for (int64_t n = point_begin; n < point_end; ++n, to += row) {
    __builtin_memcpy(to + x.channels, to, (again - x.channels) * sizeof(A));
    for (int64_t c = again; c < filled; ++c) to[c] = 0;
  }
}

// Items are filters.
template <typename T>
ISA_TARGET void few_forward(const FewPointsJob<T>& job, int64_t filter_begin, int64_t filter_end) {
  using A = Accumulator<T>;
  constexpr int F = kFilters<A>, P = kChannels<A>, L = kLanes<A>;
  const int64_t points = job.x.points(), width = job.windows.width, channels = job.windows.in_channels;
  const int64_t row = few_row<A>(channels, width);
  A* const x = static_cast<A*>(scratch(sizeof(A) * row * points));
  few_rows(job.x, 0, points, row, row, x);
  for (int64_t o = filter_begin; o < filter_end; o += F) {
    const T* weight[F];
    int64_t start[F];
    for (int f = 0; f < F; ++f) {
      const int64_t filter = std::min(o + f, filter_end - 1);
      weight[f] = job.weight + filter * job.filter_stride;
      start[f] = mod(job.windows.start[filter], channels);
    }
    for (int64_t n = 0; n < points; n += P) {
      const A* from[P];
      for (int p = 0; p < P; ++p) from[p] = x + std::min(n + p, points - 1) * row;
      Vec<A> sum[L] = {};
      int64_t k = 0;
      for (; k + L <= width; k += L)
#pragma GCC unroll 4
        for (int f = 0; f < F; ++f) {
          const Vec<A> w = load(weight[f] + k);
#pragma GCC unroll 4
          for (int p = 0; p < P; ++p) sum[f * P + p] += w * load(from[p] + start[f] + k);
        }
      if (k < width)
#pragma GCC unroll 4
        for (int f = 0; f < F; ++f) {
          const Vec<A> w = load_some(weight[f] + k, width - k);
#pragma GCC unroll 4
          for (int p = 0; p < P; ++p) sum[f * P + p] += w * load_some(from[p] + start[f] + k, width - k);
        }
      A sums[L];
      store(sums, sum_each<A>(sum));
      for (int f = 0; f < F && o + f < filter_end; ++f)
        for (int p = 0; p < P && n + p < points; ++p) {
          A y = sums[f * P + p] + (job.bias ? job.bias[o + f] : A{0});
          if (job.relu && y < 0) y = 0;
          const int64_t point = n + p;
          job.out.data[point / job.out.pixels * job.out.batch_stride + (o + f) * job.out.channel_stride +
                       point % job.out.pixels * job.out.pixel_stride] = narrow<T>(y);
        }
    }
  }
}

// Items are points; x is the gradient here, out the input's.
template <typename T>
ISA_TARGET void few_input_grad(const FewPointsJob<T>& job, int64_t point_begin, int64_t point_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const int64_t width = job.windows.width, channels = job.windows.in_channels, filters = job.windows.out_channels;
  const int64_t row = few_row<A>(channels, width), points = point_end - point_begin;
  A* const dx = static_cast<A*>(scratch(sizeof(A) * points * (row + filters)));
  A* const grad = dx + points * row;
  for (int64_t i = 0; i < points * row; ++i) dx[i] = 0;
  few_rows(job.x, point_begin, point_end, filters, filters, grad);
  for (int64_t o = 0; o < filters; ++o) {
    const T* weight = job.weight + o * job.filter_stride;
    A* const to = dx + mod(job.windows.start[o], channels);
    int64_t k = 0;
    for (; k + L <= width; k += L) {
      const Vec<A> w = load(weight + k);
      for (int64_t p = 0; p < points; ++p) {
        A* const at = to + p * row + k;
        store(at, load(at) + w * broadcast(grad[p * filters + o]));
      }
    }
    for (; k < width; ++k)
      for (int64_t p = 0; p < points; ++p) to[p * row + k] += widen(weight[k]) * grad[p * filters + o];
  }
  for (int64_t p = 0; p < points; ++p) {
    const int64_t n = point_begin + p;
    const A* from = dx + p * row;
    T* to = job.out.data + n / job.out.pixels * job.out.batch_stride + n % job.out.pixels * job.out.pixel_stride;
    for (int64_t c = 0; c < channels; ++c)
      to[c * job.out.channel_stride] = narrow<T>(c < width ? from[c] + from[channels + c] : from[c]);
  }
}

// Items are filters; weight_grad [O, K].
template <typename T>
ISA_TARGET void few_weight_grad(const FewPointsJob<T>& job, int64_t filter_begin, int64_t filter_end) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const int64_t points = job.x.points(), width = job.windows.width, channels = job.windows.in_channels;
  const int64_t filters = job.windows.out_channels, row = few_row<A>(channels, width);
  A* const x = static_cast<A*>(scratch(sizeof(A) * points * (row + filters)));
  A* const grad = x + points * row;
  few_rows(job.x, 0, points, row, row, x);
  few_rows(job.grad, 0, points, filters, filters, grad);
  for (int64_t o = filter_begin; o < filter_end; ++o) {
    const A* const from = x + mod(job.windows.start[o], channels);
    T* const to = job.weight_grad + o * width;
    int64_t k = 0;
    for (; k + 4 * L <= width; k += 4 * L) {
      Vec<A> sum[4] = {};
      for (int64_t p = 0; p < points; ++p) {
        const Vec<A> g = broadcast(grad[p * filters + o]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sum[i] += g * load(from + p * row + k + i * L);
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) store(to + k + i * L, sum[i]);
    }
    for (; k < width; k += L) {
      Vec<A> sum{};
      for (int64_t p = 0; p < points; ++p) sum += broadcast(grad[p * filters + o]) * load(from + p * row + k);
      if (k + L <= width) {
        store(to + k, sum);
      } else {
        store_some(to + k, sum, width - k);
      }
    }
  }
}
