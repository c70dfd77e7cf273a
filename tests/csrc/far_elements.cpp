// Tensors of more than 2^31 elements, sparse in memory: only their last points are filled and computed.
#include <sys/mman.h>

#include <new>
#include <numeric>
#include <type_traits>
#include <vector>

#include "expect.h"
#include "kernels/channel_plan.h"

namespace multipath_gcn {
namespace {

// Zeros without memory behind them until they are written.
template <typename T>
struct Sparse {
  T* data;
  size_t bytes;

  explicit Sparse(int64_t elements) : bytes(elements * sizeof(T)) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    data = static_cast<T*>(p);
  }
  Sparse(const Sparse&) = delete;
  ~Sparse() { munmap(data, bytes); }
};

template <typename T>
void check_far(bool rows, bool images, int64_t width) {
  constexpr int64_t kFilled = 60, kTiles = 8, kPixels = 64;
  Shape s{1, (int64_t{1} << 31) / 35 + 1001, 37, 41, width, ""};
  if (images) s.batch = (s.pixels + kPixels - 1) / kPixels, s.pixels = kPixels;
  s.text = std::string(rows ? "rows" : "planes") + (images ? " of many images" : "") + " beyond 2^31 elements";
  const int64_t points = s.batch * s.pixels;
  Sparse<T> in(points * s.in_channels), out(points * s.out_channels);
  const auto look = [&](auto* data, int64_t c) {
    using E = std::remove_pointer_t<decltype(data)>;
    return View<E>{data, s.batch, c, s.pixels, s.pixels * c, rows ? 1 : s.pixels, rows ? c : 1};
  };
  const View<T> x = look(in.data, s.in_channels), y = look(out.data, s.out_channels);
  const auto at = [&](const View<T>& v, int64_t c, int64_t point) -> T& {
    return v.data[point / s.pixels * v.batch_stride + c * v.channel_stride + point % s.pixels * v.pixel_stride];
  };
  std::vector<int32_t> start(s.out_channels), order(s.out_channels);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t o = 0; o < s.out_channels; ++o) start[o] = static_cast<int32_t>(o * s.in_channels / s.out_channels);
  const Windows windows{start.data(), order.data(), s.in_channels, s.out_channels, s.width};
  std::vector<T> weight(s.out_channels * s.width);
  for (T& w : weight) w = number<T>(random(-3, 3));
  for (int64_t point = points - kFilled; point < points; ++point)
    for (int64_t c = 0; c < s.in_channels; ++c) at(x, c, point) = number<T>(random(-3, 3));

  const auto at_once = [](int64_t items, int64_t, const auto& body) { body(0, items); };
  const TransformPlan<T> plan(windows, false);
  std::vector<Accumulator<T>> packed(plan.bytes() / sizeof(Accumulator<T>));
  const Weight<T> source{weight.data(), s.width, 1};
  plan.pack(source, packed.data(), at_once);
  const auto read = [&](const T* data, int64_t c) { return look(data, c); };
  TransformJob<T> job = plan.job(source, nullptr, false, read(in.data, s.in_channels), y, 1);
  plan.use(job, packed.data());
  kernels<T>().transform(job, (job.points.count - kTiles) * job.groups, job.points.count * job.groups);
  for (int64_t point = points - kFilled; point < points; ++point)
    for (int64_t o = 0; o < s.out_channels; ++o) {
      double sum = 0;
      for (int64_t tap = 0; tap < s.width; ++tap)
        sum += widen(weight[o * s.width + tap]) * widen(at(x, (start[o] + tap) % s.in_channels, point));
      expect(at(y, o, point), sum, s, "forward");
    }

  const WeightGradPlan<T> gradient(windows, read(in.data, s.in_channels), read(out.data, s.out_channels), 1);
  std::vector<T> found(s.out_channels * s.width);
  WeightGradJob<T> grads = gradient.job(nullptr, found.data());
  grads.chunks = grads.points.count;
  grads.groups = 1;
  const Sparse<Accumulator<T>> partial(grads.chunks * grads.partial_stride);
  grads.partial = partial.data;
  gradient.kernel().run(grads, grads.chunks - kTiles, grads.chunks);
  grads.partial += (grads.chunks - kTiles) * grads.partial_stride;  // all others are zero
  grads.chunks = kTiles;
  gradient.kernel().finish(grads, 0, gradient.tiles());
  for (int64_t o = 0; o < s.out_channels; ++o)
    for (int64_t tap = 0; tap < s.width; ++tap) {
      double sum = 0;
      for (int64_t point = points - kFilled; point < points; ++point)
        sum += widen(at(y, o, point)) * widen(at(x, (start[o] + tap) % s.in_channels, point));
      expect(found[o * s.width + tap], sum, s, "weight gradient");
    }
}

}  // namespace

void check_far_elements() {
  for (bool rows : {false, true})
    for (bool images : {false, true})
      for (int64_t width : {2, 37}) {  // for either kernel of the weight gradient
        check_far<float>(rows, images, width);
        check_far<BFloat16>(rows, images, width);
      }
}

}  // namespace multipath_gcn
