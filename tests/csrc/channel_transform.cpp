// The torch-free kernels against a plain loop, to be built with sanitizers (`make sanitize`): random shapes, layouts,
// strides, tilings and shares of the work, for every element type and every instruction set of this CPU, and tensors of
// more than 2^31 elements. Values are small integers, so that every order of summation gives the same result and
// equality is exact. Tensors are allocated to the element, and what lies between a view's elements must stay as it was.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>
#include <numeric>
#include <vector>

#include "expect.h"
#include "kernels/channel_plan.h"
#include "kernels/isa.h"

using namespace multipath_gcn;

namespace {

template <typename T>
struct Aligned {  // to a cache line, as PyTorch's tensors are
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kLine); }
  bool operator==(const Aligned&) const = default;
};

// A strided tensor in memory that ends with its last element.
template <typename T>
struct Strided {
  std::vector<T, Aligned<T>> memory;
  View<T> view{};
  int64_t shift, gap;  // elements before the first, and between runs

  Strided(int64_t batch, int64_t channels, int64_t pixels, bool rows)
      : shift(random(0, 1) ? 0 : random(1, 20)), gap(random(0, 3) ? 0 : random(1, 5)) {
    const int64_t inner = (rows ? channels : pixels) + gap, outer = rows ? pixels : channels;
    view = {nullptr, batch, channels, pixels, inner * outer + gap, rows ? 1 : inner, rows ? inner : 1};
    const int64_t size = (batch - 1) * view.batch_stride + (outer - 1) * inner + (rows ? channels : pixels);
    memory.assign(shift + size, number<T>(77));
    view.data = memory.data() + shift;
  }
  T& at(int64_t b, int64_t c, int64_t p) {
    return memory.at(shift + b * view.batch_stride + c * view.channel_stride + p * view.pixel_stride);
  }
  template <typename F>
  void each(F f) {
    for (int64_t b = 0; b < view.batch; ++b)
      for (int64_t c = 0; c < view.channels; ++c)
        for (int64_t p = 0; p < view.pixels; ++p) at(b, c, p) = number<T>(f(b, c, p));
  }
  View<const T> read() const {
    const View<T>& v = view;
    return {v.data, v.batch, v.channels, v.pixels, v.batch_stride, v.channel_stride, v.pixel_stride};
  }
};

Shape random_shape() {
  Shape s{};
  s.batch = random(0, 1) ? 1 : random(1, 40);
  s.pixels = s.batch > 1 ? std::vector<int64_t>{1, 3, 4, 15, 16, 49, 64, 130, 200}[random(0, 8)] : random(1, 700);
  s.in_channels = random(0, 3) ? random(1, 40) : random(1, 130);
  s.out_channels = random(0, 3) ? random(1, 40) : random(1, 130);
  if (random(0, 3) == 0) s.pixels = (s.pixels + 63) / 64 * 64;  // whole vectors and cache lines
  if (random(0, 3) == 0) {
    s.in_channels = (s.in_channels + 31) / 32 * 32;
    s.out_channels = (s.out_channels + 31) / 32 * 32;
  }
  s.width = random(0, 4) ? random(1, s.in_channels) : (random(0, 1) ? 1 : s.in_channels);
  return s;
}

// Starts of every kind: none, grouped, sliding, any.
std::vector<int32_t> random_starts(const Shape& s) {
  std::vector<int32_t> start(s.out_channels);
  const int64_t kind = random(0, 3), step = random(0, s.in_channels), far = 1 << random(0, 30);
  const auto any = [&] { return ((random(-far, far) % s.in_channels) + s.in_channels) % s.in_channels; };
  for (int64_t o = 0; o < s.out_channels; ++o) {
    const int64_t group = o * s.width / s.out_channels;
    start[o] = static_cast<int32_t>(kind == 0   ? 0
                                    : kind == 1 ? group * s.width % s.in_channels
                                    : kind == 2 ? o * step % s.in_channels
                                                : any());
  }
  return start;
}

// Shares of a random number of threads, in any order.
template <typename F>
void shared_out(int64_t items, F f) {
  std::vector<int64_t> cut{0, items};
  for (int64_t i = random(0, 3); i > 0; --i) cut.push_back(random(0, items));
  std::sort(cut.begin(), cut.end());
  std::vector<size_t> order(cut.size() - 1);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), generator);
  for (size_t i : order)
    if (cut[i] < cut[i + 1]) f(cut[i], cut[i + 1]);
}

template <typename T>
struct Problem {
  Shape s;
  std::vector<int32_t> start, order;
  Windows windows;
  Strided<T> x, grad;
  std::vector<T> weight;
  int64_t filter_stride, tap_stride;

  explicit Problem(const Shape& shape)
      : s(shape),
        start(random_starts(s)),
        order(s.out_channels),
        x(s.batch, s.in_channels, s.pixels, random(0, 1)),
        grad(s.batch, s.out_channels, s.pixels, random(0, 1)) {
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return start[a] < start[b]; });
    windows = {start.data(), order.data(), s.in_channels, s.out_channels, s.width};
    const bool transposed = random(0, 1);
    filter_stride = transposed ? 1 : s.width;
    tap_stride = transposed ? s.out_channels : 1;
    weight.resize(s.out_channels * s.width);
    for (T& w : weight) w = number<T>(random(-3, 3));
    const auto value = [](int64_t, int64_t, int64_t) { return static_cast<double>(random(-3, 3)); };
    x.each(value);
    grad.each(value);
    if (random(0, 3) == 0)  // must not reach filters that do not read it
      x.at(random(0, s.batch - 1), random(0, s.in_channels - 1), random(0, s.pixels - 1)) =
          number<T>(std::numeric_limits<double>::infinity());
  }

  double w(int64_t o, int64_t k) const { return widen(weight[o * filter_stride + k * tap_stride]); }
  int64_t channel(int64_t o, int64_t k) const { return (start[o] + k) % s.in_channels; }

  void transform(bool transposed, const Accumulator<T>* bias, bool relu, const Strided<T>& in, Strided<T>& out) {
    const TransformPlan<T> plan(windows, transposed);
    std::vector<char, Aligned<char>> packed(plan.bytes());
    const auto share = [](int64_t items, int64_t, const auto& body) { shared_out(items, body); };
    const Weight<T> source{weight.data(), filter_stride, tap_stride};
    plan.pack(source, packed.data(), share);
    TransformJob<T> job = plan.job(source, bias, relu, in.read(), out.view, random(1, 4));
    if (random(0, 1)) plan.use(job, packed.data());
    else if (std::is_same_v<T, Accumulator<T>> && tap_stride == 1) job.weight_in_place = random(0, 1);
    if (random(0, 1)) {  // not as planned
      const int64_t together = (job.out.rows() ? job.out.channels : job.out.pixels) * sizeof(T);
      job.stream = out.gap == 0 && out.shift == 0 && together % 64 == 0;
      job.points = tiles_of_points(job.in, random(1, 500), kernels<T>().lanes);
      job.groups = random(1, job.band->tiles.size());
    }
    const auto run = kernels<T>().transform;
    shared_out(job.points.count * job.groups, [&](int64_t begin, int64_t end) { run(job, begin, end); });
  }

  // The kernels of few points take any number of them.
  FewPointsJob<T> few_points() {
    FewPointsJob<T> job{};
    job.windows = windows;
    job.weight = weight.data();
    job.filter_stride = filter_stride;
    return job;
  }
  bool few() const { return tap_stride == 1 && random(0, 1); }

  void check_forward() {
    Strided<T> y(s.batch, s.out_channels, s.pixels, random(0, 1)), wanted = y;
    std::vector<Accumulator<T>> bias(s.out_channels);
    for (auto& b : bias) b = random(-3, 3);
    const bool with_bias = random(0, 1), relu = random(0, 1);
    wanted.each([&](int64_t b, int64_t o, int64_t p) {
      double sum = with_bias ? bias[o] : 0;
      for (int64_t k = 0; k < s.width; ++k) sum += w(o, k) * widen(x.at(b, channel(o, k), p));
      return relu && sum < 0 ? 0 : sum;
    });
    if (few()) {
      FewPointsJob<T> job = few_points();
      job.bias = with_bias ? bias.data() : nullptr;
      job.relu = relu;
      job.x = x.read();
      job.out = y.view;
      shared_out(s.out_channels, [&](int64_t begin, int64_t end) { kernels<T>().few_forward(job, begin, end); });
    } else {
      transform(false, with_bias ? bias.data() : nullptr, relu, x, y);
    }
    for (size_t i = 0; i < y.memory.size(); ++i) expect(y.memory[i], widen(wanted.memory[i]), s, "forward");
  }

  void check_input_grad() {
    Strided<T> dx(s.batch, s.in_channels, s.pixels, random(0, 1)), wanted = dx;
    std::vector<double> sum(s.batch * s.in_channels * s.pixels);
    const auto at = [&](int64_t b, int64_t c, int64_t p) -> double& {
      return sum[(b * s.in_channels + c) * s.pixels + p];
    };
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t o = 0; o < s.out_channels; ++o)
        for (int64_t k = 0; k < s.width; ++k)
          for (int64_t p = 0; p < s.pixels; ++p) at(b, channel(o, k), p) += w(o, k) * widen(grad.at(b, o, p));
    wanted.each(at);
    if (few()) {
      FewPointsJob<T> job = few_points();
      job.x = grad.read();
      job.out = dx.view;
      shared_out(s.batch * s.pixels, [&](int64_t begin, int64_t end) { kernels<T>().few_input_grad(job, begin, end); });
    } else {
      transform(true, nullptr, false, grad, dx);
    }
    for (size_t i = 0; i < dx.memory.size(); ++i) expect(dx.memory[i], widen(wanted.memory[i]), s, "input gradient");
  }

  // A band that was kept is the one that would be worked out again, and the next question gets the same one.
  void check_kept_bands() {
    const int most = kernels<T>().outputs_per_tile;
    const auto forward = band_of(BandKind::forward, windows, most), input_grad = band_of(BandKind::input_grad, windows, most);
    const Band wanted = forward_band(windows, most), other = input_grad_band(windows, most);
    const bool equal = forward->begin == wanted.begin && forward->channel == wanted.channel &&
                       forward->weights == wanted.weights && forward->tiles.size() == wanted.tiles.size();
    const bool equal_other = input_grad->begin == other.begin && input_grad->end == other.end &&
                             input_grad->position == other.position && input_grad->weights == other.weights;
    const std::vector<int32_t> start_copy(start), order_copy(order);
    const Windows elsewhere{start_copy.data(), order_copy.data(), s.in_channels, s.out_channels, s.width};
    if (!equal || !equal_other || band_of(BandKind::forward, elsewhere, most) != forward)
      throw std::runtime_error("kept band of " + s.text);
  }

  void check_weight_grad() {
    std::vector<T> found(s.out_channels * s.width);
    planned_weight_grad(found);
    expect_weight_grad(found, "weight gradient");
    FewPointsJob<T> job = few_points();
    job.x = x.read();
    job.grad = grad.read();
    job.weight_grad = found.data();
    shared_out(s.out_channels, [&](int64_t begin, int64_t end) { kernels<T>().few_weight_grad(job, begin, end); });
    expect_weight_grad(found, "weight gradient of few points");
  }

  void planned_weight_grad(std::vector<T>& found) {
    const WeightGradPlan<T> plan(windows, x.read(), grad.read(), random(1, 4));
    const WeightGrad<T>& kernel = plan.kernel();
    WeightGradJob<T> job = plan.job(nullptr, found.data());
    if (random(0, 1)) {  // not as planned
      job.points = tiles_of_points(job.x, random(1, kernel.most_points), kernel.points_per_vector);
      job.chunks = random(1, job.points.count);
      job.groups = random(1, plan.tiles());
    }
    const auto nan = std::numeric_limits<Accumulator<T>>::quiet_NaN();
    std::vector<Accumulator<T>> partial(job.chunks * job.partial_stride, nan);
    job.partial = partial.data();
    shared_out(job.chunks * job.groups, [&](int64_t begin, int64_t end) { kernel.run(job, begin, end); });
    shared_out(plan.tiles(), [&](int64_t begin, int64_t end) { kernel.finish(job, begin, end); });
  }

  void expect_weight_grad(const std::vector<T>& found, const char* what) {
    for (int64_t o = 0; o < s.out_channels; ++o)
      for (int64_t tap = 0; tap < s.width; ++tap) {
        double sum = 0;
        for (int64_t b = 0; b < s.batch; ++b)
          for (int64_t p = 0; p < s.pixels; ++p) sum += widen(grad.at(b, o, p)) * widen(x.at(b, channel(o, tap), p));
        expect(found[o * s.width + tap], sum, s, what);
      }
  }
};

// Results of 4 MB go past the caches if all of their rows or planes, of 64 elements each, are whole cache lines.
template <typename T>
void check_streams() {
  constexpr int64_t length = 64, points = 32768, line = 64 / sizeof(T);
  const std::vector<int32_t> start(length);
  std::vector<int32_t> order(length);
  std::iota(order.begin(), order.end(), 0);
  const TransformPlan<T> plan({start.data(), order.data(), length, length, 1}, false);
  alignas(64) static const T value[1]{};  // only its address counts
  const auto planned = [&](const View<const T>& v) -> float {
    T* const data = const_cast<T*>(v.data);
    const View<T> out{data, v.batch, v.channels, v.pixels, v.batch_stride, v.channel_stride, v.pixel_stride};
    return plan.job({value, 1, 1}, nullptr, false, v, out, 1).stream;
  };
  for (const int64_t gap : {int64_t{0}, line, int64_t{1}, line / 2}) {
    const int64_t run = length + gap;
    const bool whole = gap % line == 0;
    expect(planned({value, 1, length, points, points * run, 1, run}), whole, {}, "stream");
    for (const int64_t between : {int64_t{0}, int64_t{1}})
      expect(planned({value, points / length, length, length, length * run + between, run, 1}), whole && between == 0, {},
                "stream");
  }
}

template <typename T>
void check(const char* dtype, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    Shape s = random_shape();
    s.text = std::string(dtype) + " batch " + std::to_string(s.batch) + " pixels " + std::to_string(s.pixels) + " C " +
             std::to_string(s.in_channels) + " O " + std::to_string(s.out_channels) + " K " + std::to_string(s.width);
    Problem<T> problem(s);
    problem.check_kept_bands();
    problem.check_forward();
    problem.check_input_grad();
    problem.check_weight_grad();
  }
}

int check_all(const char* isa, int64_t count) {
  setenv("MULTIPATH_GCN_ISA", isa, 1);
  try {
    check_far_elements();
    check_propagation(count);
    check_convolution(count);
    check_separable(count);
    check_uneven(count);
    check_gauge(count);
    check_streams<float>();
    check_streams<double>();
    check_streams<BFloat16>();
    check<float>("float32", count);
    check<double>("float64", count);
    check<BFloat16>("bfloat16", count);
  } catch (const std::exception& error) {
    std::printf("%s: %s\n", isa, error.what());
    return 1;
  }
  std::printf("%s: %d problems, all equal\n", isa, static_cast<int>(9 * count));
  return 0;
}

}  // namespace

int main(int count, char** values) {
  int failed = 0;
  for (Isa isa : available_isas()) {
    std::fflush(stdout);
    const pid_t child = fork();  // an instruction set is chosen once per process
    if (child == 0) return check_all(name_of(isa), count > 1 ? std::atoi(values[1]) : 150);
    int status = 1;
    waitpid(child, &status, 0);
    failed |= status;
  }
  return failed != 0;
}
