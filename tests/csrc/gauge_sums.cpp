// Sums over the edges of a surface against plain loops: random edges, vertices without any, tensors allocated to the element,
// every order, edges under numbers of their own, and indices that lie outside. Values are small integers: equality is exact.
#include "kernels/gauge_sums.h"

#include <memory>
#include <vector>

#include "expect.h"

namespace multipath_gcn {
namespace {

// Memory that ends with its last element, so that one more is an error.
template <typename T>
std::unique_ptr<T[]> exact(int64_t n, int64_t most) {
  std::unique_ptr<T[]> memory(new T[n]);
  for (int64_t i = 0; i < n; ++i) memory[i] = number<T>(static_cast<double>(random(-most, most)));
  return memory;
}

template <typename T>
struct GaugeProblem {
  using A = Accumulator<T>;
  int64_t rows = random(1, 8), columns = random(1, 8), order = random(0, 3), waves = random(1, 7), channels = random(1, 40);
  int64_t parts = 2 * order + 1;
  std::vector<int64_t> rowptr{0};
  std::unique_ptr<int64_t[]> col, edge;
  std::unique_ptr<A[]> turn, wave;
  Shape shape{};
  GaugeJob<T> job{};

  GaugeProblem() {
    for (int64_t i = 0; i < rows; ++i) rowptr.push_back(rowptr.back() + random(0, 3));
    const int64_t entries = rowptr.back();
    col = std::make_unique<int64_t[]>(entries), edge = std::make_unique<int64_t[]>(entries);
    for (int64_t e = 0; e < entries; ++e) col[e] = random(0, columns - 1), edge[e] = random(0, entries - 1);
    turn = exact<A>(entries * order * 2, 2), wave = exact<A>(entries * waves, 2);
    job = {rowptr.data(), col.get(),   random(0, 1) ? edge.get() : nullptr, columns, entries, entries,
           turn.get(),    wave.get(), order,                               waves,   channels};
    shape.text = std::to_string(rows) + "x" + std::to_string(columns) + " order " + std::to_string(order) + " waves " +
                 std::to_string(waves) + " C " + std::to_string(channels);
  }

  // Component j of R x, or of its transpose, of one channel.
  double turned(const T* x, int64_t at, int64_t j, int64_t c, double sign) const {
    if (j == 0) return widen(x[c]);
    const int64_t m = (j + 1) / 2;
    const double cos = turn[(at * order + m - 1) * 2], sin = sign * turn[(at * order + m - 1) * 2 + 1];
    const double re = widen(x[(2 * m - 1) * channels + c]), im = widen(x[2 * m * channels + c]);
    return j % 2 ? cos * re - sin * im : sin * re + cos * im;
  }

  void check() {
    const auto x = exact<T>(columns * parts * channels, 3);
    std::unique_ptr<T[]> y(new T[rows * waves * parts * channels]);
    job.x = x.get(), job.y = y.get();
    if (!gauge_kernels<T>().sums(job, 0, rows)) throw std::runtime_error("sums of " + shape.text + " saw no edges");
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t k = 0; k < waves; ++k)
        for (int64_t j = 0; j < parts; ++j)
          for (int64_t c = 0; c < channels; ++c) {
            double sum = 0;
            for (int64_t e = rowptr[i]; e < rowptr[i + 1]; ++e) {
              const int64_t at = job.edge ? edge[e] : e;
              sum += wave[at * waves + k] * turned(x.get() + col[e] * parts * channels, at, j, c, 1);
            }
            expect(y[((i * waves + k) * parts + j) * channels + c], sum, shape, "sum");
          }
  }

  void check_grad() {
    const auto grad = exact<T>(columns * waves * parts * channels, 3);
    std::unique_ptr<T[]> y(new T[rows * parts * channels]);
    job.x = grad.get(), job.y = y.get();
    if (!gauge_kernels<T>().sums_grad(job, 0, rows)) throw std::runtime_error("gradient of " + shape.text + " saw no edges");
    std::vector<T> mixed(parts * channels);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < parts; ++j)
        for (int64_t c = 0; c < channels; ++c) {
          double sum = 0;
          for (int64_t e = rowptr[i]; e < rowptr[i + 1]; ++e) {
            const int64_t at = job.edge ? edge[e] : e;
            for (int64_t k = 0; k < waves; ++k)
              sum += wave[at * waves + k] * turned(grad.get() + (col[e] * waves + k) * parts * channels, at, j, c, -1);
          }
          expect(y[(i * parts + j) * channels + c], sum, shape, "gradient");
        }
  }

  void check_outside() {
    const int64_t entries = rowptr.back();
    if (entries == 0) return;
    const auto x = exact<T>(columns * waves * parts * channels, 3);
    std::unique_ptr<T[]> y(new T[rows * waves * parts * channels]);
    job.x = x.get(), job.y = y.get();
    const int64_t e = random(0, entries - 1), was = col[e];
    for (const int64_t wrong : {int64_t{-1}, columns, int64_t{1} << 62}) {
      col[e] = wrong;
      if (gauge_kernels<T>().sums(job, 0, rows) || gauge_kernels<T>().sums_grad(job, 0, rows))
        throw std::runtime_error("a column outside was not seen: " + shape.text);
    }
    col[e] = was;
    job.edge = edge.get();
    const int64_t place = edge[e];
    for (const int64_t wrong : {int64_t{-1}, entries, int64_t{1} << 62}) {
      edge[e] = wrong;
      if (gauge_kernels<T>().sums(job, 0, rows) || gauge_kernels<T>().sums_grad(job, 0, rows))
        throw std::runtime_error("an edge outside was not seen: " + shape.text);
    }
    edge[e] = place;
    rowptr.back() = entries + 1;
    if (gauge_kernels<T>().sums(job, 0, rows)) throw std::runtime_error("an entry outside was not seen: " + shape.text);
  }
};

template <typename T>
void check(int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    GaugeProblem<T> problem;
    problem.check();
    problem.check_grad();
    problem.check_outside();
  }
}

}  // namespace

void check_gauge(int64_t count) {
  check<float>(count);
  check<double>(count);
  check<BFloat16>(count);
}

}  // namespace multipath_gcn
