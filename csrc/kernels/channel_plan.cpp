#include "channel_plan.h"

namespace multipath_gcn {

namespace {

// Results that no cache will hold until they are read go past it, where each row or plane is whole cache lines.
template <typename T>
bool streams(const View<T>& out) {
  constexpr int64_t kStreamBytes = 4 << 20, kLine = 64, size = sizeof(T);
  const auto whole_lines = [](int64_t elements) { return elements * size % kLine == 0; };
  return out.points() * out.channels * size >= kStreamBytes && reinterpret_cast<uintptr_t>(out.data) % kLine == 0 &&
         whole_lines(out.rows() ? out.channels : out.pixels) &&
         whole_lines(out.rows() ? out.pixel_stride : out.channel_stride) &&
         (out.batch == 1 || whole_lines(out.batch_stride));
}

}  // namespace

template <typename T>
TransformPlan<T>::TransformPlan(const Windows& windows, bool transposed) : windows_(windows), transposed_(transposed) {
  const Kernels<T>& k = kernels<T>();
  band_ = band_of(transposed ? BandKind::input_grad : BandKind::forward, windows, k.outputs_per_tile);
  if (k.pack_pairs && band_->inputs % 2 == 0)
    paired_ = band_of(transposed ? BandKind::input_grad_pairs : BandKind::forward_pairs, windows, k.outputs_per_tile);
}

template <typename T>
int64_t TransformPlan<T>::bytes() const {
  return band_->weights * static_cast<int64_t>(sizeof(Accumulator<T>)) +
         (paired_ ? paired_->weights * static_cast<int64_t>(sizeof(Pair)) : 0);
}

template <typename T>
TransformJob<T> TransformPlan<T>::job(const Weight<T>& weight, const Accumulator<T>* bias, bool relu, View<const T> in,
                                      View<T> out, int64_t threads) const {
  const Kernels<T>& k = kernels<T>();
  merge_batches(in, out);
  // A tile of points and its results stay in the second-level cache.
  constexpr int64_t kCacheBytes = 256 << 10, kMostPoints = 480;
  const int64_t block = k.vectors_per_tile * k.lanes, element = static_cast<int64_t>(sizeof(Accumulator<T>));
  const int64_t fitting = kCacheBytes / element / (band_->inputs + band_->outputs) / block * block;
  const int64_t points = std::min(kMostPoints / block * block, std::max(block, fitting));
  TransformJob<T> job{};
  job.band = band_.get();
  job.paired = paired_.get();
  job.weight = {&windows_, transposed_, weight};
  job.weight_in_place = std::is_same_v<T, Accumulator<T>> && weight.tap_stride == 1 && in.points() <= kInPlacePoints;
  job.bias = bias;
  job.relu = relu;
  job.in = in;
  job.out = out;
  job.points = tiles_of_points(in, points, k.lanes);
  job.stream = streams(out);
  const bool uneven = job.points.count < 3 * threads && job.points.count % threads;
  job.groups = uneven ? std::min(threads, tiles(*band_)) : 1;
  return job;
}

template <typename T>
void TransformPlan<T>::use(TransformJob<T>& job, const void* packed) const {
  void* const memory = const_cast<void*>(packed);
  job.packed = values(memory);
  job.packed_pairs = pairs(memory);
  job.weight_in_place = false;
}

namespace {

// Which kernel takes fewer vector operations per point: multiply-adds, weighted by what each kernel was measured to lose (the
// pairs reload a window from the second-level cache, the wider the more; the outer products load more per multiply-add),
// and what it takes to bring the operands into place.
template <typename T>
bool outer_is_faster(const Kernels<T>& k, const Band& pairs, const Band& outer, int64_t width, bool rows, bool planes_in_place) {
  if (pairs.inputs < k.lanes) return false;  // no vector of channels
  const double lanes = k.lanes, in = static_cast<double>(pairs.inputs), out = static_cast<double>(pairs.outputs);
  const double transposed = 8 / lanes, copied = 2.5 / lanes;  // per channel
  const double window = static_cast<double>(width) / 128;
  const double by_pairs = (1 + window) * static_cast<double>(k.pairs.partial_size(pairs)) / lanes +
                          (planes_in_place ? 0 : (in + out) * (rows ? transposed : copied));
  const double by_outer = 1.3 * static_cast<double>(k.outer.partial_size(outer)) / lanes +
                          (rows ? out * transposed : in * (transposed + copied) + out * copied);
  return by_outer < by_pairs;
}

}  // namespace

template <typename T>
WeightGradPlan<T>::WeightGradPlan(const Windows& windows, View<const T> x, View<const T> grad, int64_t threads) {
  const Kernels<T>& k = kernels<T>();
  merge_batches(x, grad);
  band_ = band_of(BandKind::forward, windows, k.pairs.filters_per_tile);
  std::shared_ptr<const Band> outer = band_of(BandKind::forward, windows, k.outer.filters_per_tile);
  const bool planes = !x.rows() && !grad.rows() && x.pixels % k.pairs.points_per_vector == 0 && x.pixels >= 4 * k.lanes;
  const bool wide = outer_is_faster(k, *band_, *outer, windows.width, x.rows(), planes);
  if (wide) band_ = std::move(outer);
  kernel_ = wide ? &k.outer : &k.pairs;
  job_ = WeightGradJob<T>{};
  job_.width = windows.width;
  job_.x = x;
  job_.grad = grad;
  const int64_t cache_bytes = planes && !wide ? 512 << 10 : 256 << 10;
  const int64_t held = (windows.in_channels + windows.out_channels) * static_cast<int64_t>(sizeof(Accumulator<T>));
  const int64_t step = kernel_->points_per_vector;
  const int64_t points = std::min(kernel_->most_points, std::max<int64_t>(128, cache_bytes / held / step * step));
  job_.points = tiles_of_points(x, points, step);
  job_.in_place = wide ? x.rows() && job_.points.images_per_tile == 0 : planes;
  job_.partial_stride = kernel_->partial_size(*band_);
  constexpr int64_t kPart = 20 * static_cast<int64_t>(sizeof(Accumulator<T>) / sizeof(T));  // 5 % of the output's bytes
  const int64_t affordable = x.points() * windows.out_channels / kPart / job_.partial_stride;
  job_.chunks = std::min(job_.points.count, std::max<int64_t>(2, std::min<int64_t>(64, affordable)));
  const int64_t per_thread = planes && !wide ? 4 : 1;  // nothing is packed twice
  job_.groups = std::max<int64_t>(1, std::min(tiles(), (per_thread * threads + job_.chunks - 1) / job_.chunks));
}

template <typename T>
WeightGradJob<T> WeightGradPlan<T>::job(Accumulator<T>* partial, T* weight_grad) const {
  WeightGradJob<T> job = job_;
  job.band = band_.get();
  job.partial = partial;
  job.weight_grad = weight_grad;
  return job;
}

template class TransformPlan<float>;
template class TransformPlan<double>;
template class TransformPlan<BFloat16>;
template class WeightGradPlan<float>;
template class WeightGradPlan<double>;
template class WeightGradPlan<BFloat16>;

}  // namespace multipath_gcn
