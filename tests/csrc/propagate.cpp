// Propagation and activations against plain loops: random matrices with hubs, empty rows and no entries, tensors allocated
// to the element, every kind of index, and indices that lie outside. Values are small integers: equality is exact.
#include "kernels/propagate.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "expect.h"

namespace multipath_gcn {
namespace {

// Memory that ends with its last element, so that one more is an error.
template <typename T>
struct Exact {
  std::unique_ptr<T[]> memory;
  size_t size;
  explicit Exact(size_t n) : memory(new T[n]), size(n) {}
  T* data() const { return memory.get(); }
  T& operator[](size_t i) const { return memory[i]; }
};

template <typename T, typename I>
struct PropagateProblem {
  using A = Accumulator<T>;
  int64_t rows = random(1, 12), columns = random(1, 12), features = random(1, 150), stride = features + random(0, 1) * random(0, 9);
  Exact<I> rowptr{static_cast<size_t>(rows + 1)};
  std::vector<I> entries = draw_entries();
  Exact<I> col{entries.size()};
  Exact<A> weight{entries.size()}, row_scale{static_cast<size_t>(rows)}, col_scale{static_cast<size_t>(columns)};
  Exact<A> bias{static_cast<size_t>(features)};
  Exact<T> x{static_cast<size_t>((columns - 1) * stride + features)}, grad{static_cast<size_t>(rows * features)};
  Csr<A, I> matrix{};
  Shape shape{};

  PropagateProblem() {
    std::copy(entries.begin(), entries.end(), col.data());
    for (auto* values : {&weight, &row_scale, &col_scale, &bias})
      for (size_t i = 0; i < values->size; ++i) (*values)[i] = static_cast<A>(random(-2, 2));
    for (auto* values : {&x, &grad})
      for (size_t i = 0; i < values->size; ++i) (*values)[i] = number<T>(static_cast<double>(random(-3, 3)));
    matrix = {rowptr.data(), col.data(), rows, columns, static_cast<int64_t>(entries.size()),
              random(0, 1) ? weight.data() : nullptr, random(0, 1) ? row_scale.data() : nullptr,
              random(0, 1) ? col_scale.data() : nullptr};
    shape.text = std::to_string(rows) + "x" + std::to_string(columns) + " F " + std::to_string(features);
  }

  std::vector<I> draw_entries() {
    std::vector<I> found;
    const int64_t hub = random(0, rows - 1), density = random(0, 3);
    rowptr[0] = 0;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j)
        if (density && (i == hub || random(0, 3) < density - 1)) found.push_back(static_cast<I>(j));
      rowptr[i + 1] = static_cast<I>(found.size());
    }
    return found;
  }

  double value(int64_t i, int64_t e, bool weighted = true) const {
    const double w = weighted && matrix.weight ? weight[e] : 1, r = matrix.row_scale ? row_scale[i] : 1;
    return w * r * (matrix.col_scale ? col_scale[col[e]] : 1);
  }
  double at(int64_t j, int64_t f) const { return widen(x[j * stride + f]); }

  // The columns in two parts, the rows one part after the other.
  template <typename Run>
  bool in_parts(Run run) const {
    const int64_t middle = random(0, rows), cut = std::min(features, kColumns * random(0, 2));
    bool right = true;
    for (const Range& r : {Range{0, middle, 0, cut}, {middle, rows, 0, cut}, {0, rows, cut, features}}) right = run(r) && right;
    return right;
  }

  void check_sum() {
    Activation<A> activation{random(0, 1) ? bias.data() : nullptr, random(0, 1) == 1, false, 0, 0, A{1}, nullptr};
    Exact<T> y(rows * features);
    Exact<uint8_t> kept(rows * ((features + 7) / 8));
    if (activation.relu) activation.kept = kept.data();
    const int64_t row_bytes = (features + 7) / 8;
    Exact<uint8_t> taken(columns * row_bytes);
    for (size_t i = 0; i < taken.size; ++i) taken[i] = static_cast<uint8_t>(random(0, 255));
    const uint8_t* const of_x = random(0, 1) ? taken.data() : nullptr;
    const A scale = static_cast<A>(random(1, 2));
    const SumJob<T, I> job{matrix, x.data(), stride, features, y.data(), false, activation, of_x, scale};
    if (!in_parts([&](const Range& r) { return propagate_kernels<T, I>().sum(job, r); }))
      throw std::runtime_error("sum of " + shape.text + " found an index outside");
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t f = 0; f < features; ++f) {
        double total = activation.bias ? bias[f] : 0;
        for (int64_t e = rowptr[i]; e < rowptr[i + 1]; ++e) {
          const bool is_taken = !of_x || (of_x[col[e] * row_bytes + f / 8] >> (f % 8) & 1);
          total += is_taken ? scale * value(i, e) * at(col[e], f) : 0;
        }
        const bool slope = total > 0;
        expect(y[i * features + f], activation.relu ? std::max(total, 0.0) : total, shape, "sum");
        if (activation.relu && ((kept[i * ((features + 7) / 8) + f / 8] >> (f % 8) & 1) != slope))
          throw std::runtime_error("kept bit of " + shape.text);
      }
  }

  void check_extreme() {
    Exact<T> y(rows * features);
    Exact<int32_t> source(rows * features);
    const ExtremeJob<T, I> job{matrix, x.data(), stride, features, y.data(), source.data(), random(0, 1) == 1};
    in_parts([&](const Range& r) { return propagate_kernels<T, I>().extreme(job, r); });
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t f = 0; f < features; ++f) {
        double best = 0;
        int64_t from = -1;
        for (int64_t e = rowptr[i]; e < rowptr[i + 1]; ++e) {
          const double v = value(i, e) * at(col[e], f);
          if (from < 0 || (job.largest ? v > best : v < best)) best = v, from = col[e];
        }
        expect(y[i * features + f], best, shape, "extreme");
        if (source[i * features + f] != from) throw std::runtime_error("source of an extreme of " + shape.text);
      }
  }

  // Over the same matrix read as the transposed one: row j takes from grad's rows, which are x's here.
  void check_extreme_grad() {
    Exact<int32_t> source(columns * features);
    for (size_t i = 0; i < source.size; ++i) source[i] = static_cast<int32_t>(random(0, rows));
    Exact<T> dx(rows * features), dense(columns * features);
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t f = 0; f < features; ++f) dense[j * features + f] = x[j * stride + f];
    const ExtremeJob<T, I> job{matrix, dense.data(), features, features, dx.data(), source.data(), true};
    in_parts([&](const Range& r) { return propagate_kernels<T, I>().extreme_grad(job, r); });
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t f = 0; f < features; ++f) {
        double total = 0;
        for (int64_t e = rowptr[i]; e < rowptr[i + 1]; ++e)
          if (source[col[e] * features + f] == i) total += value(i, e) * at(col[e], f);
        expect(dx[i * features + f], total, shape, "gradient of an extreme");
      }
  }

  void check_weight_grad() {
    Csr<A, I> bare = matrix;
    bare.weight = nullptr;
    Exact<A> found(entries.size());
    const EntryGradJob<T, I> job{bare, grad.data(), x.data(), features, stride, features, found.data()};
    propagate_kernels<T, I>().weight_grad(job, {0, rows, 0, features});
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t e = rowptr[i]; e < rowptr[i + 1]; ++e) {
        double total = 0;
        for (int64_t f = 0; f < features; ++f) total += widen(grad[i * features + f]) * at(col[e], f);
        expect(found[e], total * value(i, e, false), shape, "weight gradient");
      }
  }

  void check_activation() {
    const size_t bytes = rows * ((features + 7) / 8);
    Exact<T> y(rows * features), dx(rows * features);
    Exact<uint8_t> kept(bytes);
    const Activation<A> activation{bias.data(), true, true, static_cast<uint64_t>(random(0, 1 << 30)), 1u << 31, A{2}, kept.data()};
    activate_kernels<T>().activate({grad.data(), features, features, y.data(), activation}, 0, rows);
    std::vector<A> partial(features);
    activate_kernels<T>().activate_grad({grad.data(), features, rows, features, kept.data(), A{2}, dx.data(), partial.data()}, 0, 1);
    for (int64_t f = 0; f < features; ++f) {
      double total = 0;
      for (int64_t i = 0; i < rows; ++i) {
        const double v = widen(grad[i * features + f]) + static_cast<double>(bias[f]);
        const bool slope = kept[i * ((features + 7) / 8) + f / 8] >> (f % 8) & 1;
        if (slope || widen(y[i * features + f]) != 0) expect(y[i * features + f], 2 * std::max(v, 0.0), shape, "activation");
        if (slope && v <= 0) throw std::runtime_error("slope of a value that is not above 0, of " + shape.text);
        expect(dx[i * features + f], slope ? 2 * widen(grad[i * features + f]) : 0, shape, "gradient of an activation");
        total += slope ? 2 * widen(grad[i * features + f]) : 0;
      }
      expect(partial[f], total, shape, "gradient of a bias");
    }
    const std::vector<A> before = partial;
    activate_kernels<T>().activate_grad({grad.data(), features, rows, features, kept.data(), A{2}, nullptr, partial.data()}, 0, 1);
    if (partial != before) throw std::runtime_error("sums without a gradient differ, of " + shape.text);
  }

  void check_outside() {
    Exact<T> y(rows * features);
    const SumJob<T, I> job{matrix, x.data(), stride, features, y.data(), false, {nullptr, false, false, 0, 0, A{1}, nullptr}, nullptr, A{1}};
    if (!entries.empty()) {
      const size_t e = random(0, entries.size() - 1);
      for (const I wrong : {static_cast<I>(columns), static_cast<I>(-1), std::numeric_limits<I>::max(), std::numeric_limits<I>::min()}) {
        col[e] = wrong;
        expect_refused(job);
      }
      col[e] = entries[e];
    }
    for (const I wrong : {static_cast<I>(entries.size() + 1), static_cast<I>(-1), std::numeric_limits<I>::max()}) {
      const I right = rowptr[rows];
      rowptr[rows] = wrong;
      expect_refused(job);
      rowptr[rows] = right;
    }
  }
  void expect_refused(const SumJob<T, I>& job) {
    if (propagate_kernels<T, I>().sum(job, {0, rows, 0, features}))
      throw std::runtime_error("an index outside " + shape.text + " was followed");
  }
};

template <typename T, typename I>
void check(int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    PropagateProblem<T, I> problem;
    problem.check_sum();
    problem.check_extreme();
    problem.check_extreme_grad();
    problem.check_weight_grad();
    problem.check_activation();
    problem.check_outside();
  }
}

}  // namespace

void check_propagation(int64_t count) {
  check<float, int32_t>(count);
  check<double, int32_t>(count);
  check<BFloat16, int32_t>(count);
  check<float, int64_t>(count);
}

}  // namespace multipath_gcn
