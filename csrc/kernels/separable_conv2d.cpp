#include "separable_conv2d.h"

#include <algorithm>

#include "thread_memory.h"

namespace multipath_gcn {

namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kRowsAtOnce = 7;    // that the kernel by rows computes, wanted or not
constexpr int64_t kKeptBytes = 640 << 10;  // of a tile, that the second-level cache holds beside what passes through
constexpr int64_t kMostPoints = 512;  // from which on one more image fills vectors no better
constexpr int64_t kFewVectors = 4, kSharedWeights = 256 << 10;  // so many bytes for so few points: each thread reads a part
constexpr double kTileCost = 30000;   // multiply-adds of the time that a tile takes to begin
constexpr int64_t kFilterCost = 2;    // of a depthwise multiply-add

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Columns of a tile: whole vectors, and an odd number of cache lines, so that neighbouring channels meet in no set of a cache.
template <typename A>
int64_t columns_of(int64_t points) {
  constexpr int64_t line = kLine / static_cast<int64_t>(sizeof(A));
  return (ceil_div(points, line) | 1) * line;
}

void* tile_memory(int64_t bytes) {
  thread_local ThreadMemory memory;
  return memory.at_least(bytes);
}

}  // namespace

template <typename T>
SeparableConv2d<T>::SeparableConv2d(const DepthwiseOperands<T>& depthwise, const PointwiseOperands<T>& pointwise,
                                    const Images<const T>& x, const View<T>& y, int64_t threads)
    : depthwise_(depthwise), pointwise_(pointwise), x_(x), y_(y), channels_(depthwise.shape.groups) {
  View<const T> h{nullptr, y.batch, channels_, y.pixels, y.pixels, y.batch * y.pixels, 1};  // for its sizes
  job_ = pointwise_.plan->job(Weight<T>{}, pointwise_.bias, pointwise_.relu, h, y_, threads);
  pointwise_.plan->use(job_, pointwise_.packed);
  few_ = few_are_faster<T>(y_.points(), pointwise_.windows.width);
  const int64_t weights = pointwise_.windows.width * y_.channels * static_cast<int64_t>(sizeof(A));
  const bool weighty = threads > 1 && y_.batch == 1 && y_.pixels <= kFewVectors * kernels<T>().lanes && weights > kSharedWeights;
  if (!few_ && !weighty) cut(threads);
  if (!tiles_.empty()) return;
  columns_ = columns_of<A>(y_.points());
  in_rows_ = few_ && y_.rows();
  shared_bytes_ = channels_ * columns_ * static_cast<int64_t>(sizeof(T)) + kLine;
}

// How long all tiles take, in multiply-adds, of so many images or, of one, so many rows. What is wasted counts: registers
// are filled with vectors of points and with rows by sevens, neighbours read source rows twice, and the last tile is waited for.
template <typename T>
double SeparableConv2d<T>::cost(int64_t images, int64_t rows, bool by_rows, int64_t threads) const {
  const ConvShape& s = depthwise_.shape;
  const int64_t height = s.out[0], width = s.out[1], points = images * rows * width, lanes = kernels<T>().lanes;
  const double filtered = static_cast<double>(kFilterCost * s.kernel[0] * s.kernel[1] * channels_);
  const double transformed = static_cast<double>(pointwise_.windows.width * y_.channels);
  const double twice = static_cast<double>((s.kernel[0] - 1) * s.dilation[0]) / static_cast<double>(2 * s.stride[0]);
  const double computed = static_cast<double>(by_rows ? ceil_div(rows, kRowsAtOnce) * kRowsAtOnce : rows) + (rows < height ? twice : 0);
  double tile = filtered * static_cast<double>(images * width) * computed +
                transformed * static_cast<double>(ceil_div(points, lanes) * lanes);
  const int64_t kept = (channels_ + (y_.rows() ? y_.channels / 2 : 0)) * points * static_cast<int64_t>(sizeof(A));
  if (kept > kKeptBytes) tile *= 1 + static_cast<double>(kept - kKeptBytes) / (1 << 20);
  if (!y_.rows() && images > 1) tile = (job_.stream ? 1.5 : 1) * tile + static_cast<double>(4 * y_.channels * points);  // copied
  const int64_t tiles = ceil_div(y_.batch, images) * ceil_div(height, rows);
  return (tile + kTileCost) * static_cast<double>(ceil_div(tiles, threads));
}

// The best tiles, or none: where these would leave half of the vectors or of the threads without work.
template <typename T>
void SeparableConv2d<T>::cut(int64_t threads) {
  const int64_t height = depthwise_.shape.out[0], lanes = kernels<T>().lanes;
  const bool by_rows = convolution(1, height, 0, x_.height, nullptr)->way() == ConvWay::rows;
  int64_t images = 1, rows = height;
  double least = cost(images, rows, by_rows, threads);
  const auto consider = [&](int64_t n, int64_t r) {
    const double c = cost(n, r, by_rows, threads);
    if (c < least) least = c, images = n, rows = r;
  };
  for (int64_t r = 1; r < height; ++r) consider(1, r);
  for (int64_t n = 2; n <= y_.batch && (n - 1) * y_.pixels < kMostPoints; ++n) consider(n, height);
  const int64_t tiles = ceil_div(y_.batch, images) * ceil_div(height, rows);
  const int64_t vectors = ceil_div(tiles, threads) * threads * ceil_div(points(images, rows), lanes);
  if (4 * vectors > 5 * ceil_div(y_.points(), lanes) && y_.points() <= 2 * job_.points.columns) return;
  for (int64_t image = 0; image < y_.batch; image += images)
    for (int64_t row = 0; row < height; row += rows)
      add_tile(image, std::min(images, y_.batch - image), row, std::min(rows, height - row));
  columns_ = columns_of<A>(points(images, rows));
  for (Band& band : bands_) band.convolution = convolution(band.images, band.rows, band.first, band.height, nullptr);
}

template <typename T>
void SeparableConv2d<T>::add_tile(int64_t image, int64_t images, int64_t row, int64_t rows) {
  const ConvShape& s = depthwise_.shape;
  const int64_t begin = row * s.stride[0] - s.padding[0];
  const int64_t end = begin + (rows - 1) * s.stride[0] + (s.kernel[0] - 1) * s.dilation[0] + 1;
  const int64_t from = std::clamp<int64_t>(begin, 0, std::max<int64_t>(0, x_.height - 1));
  const int64_t height = std::clamp<int64_t>(end - from, 0, x_.height - from), first = begin - from;
  const auto alike = [&](const Band& b) { return b.images == images && b.rows == rows && b.first == first && b.height == height; };
  const auto known = std::find_if(bands_.begin(), bands_.end(), alike);
  const int band = static_cast<int>(known - bands_.begin());
  if (known == bands_.end()) bands_.push_back({images, rows, first, height, nullptr});
  tiles_.push_back({image, images, row, rows, x_.data + image * x_.batch_stride + from * x_.row_stride, band});
}

// Of tiles whose output row 0 reads source row `first`.
template <typename T>
std::unique_ptr<Convolution<T>> SeparableConv2d<T>::convolution(int64_t images, int64_t rows, int64_t first, int64_t height,
                                                                T* h) const {
  ConvShape shape = depthwise_.shape;
  shape.padding[0] = -first, shape.out[0] = rows;
  Images<const T> x = x_;
  x.batch = images, x.height = height;
  const int64_t width = shape.out[1];
  const int64_t c = channels_;
  const Images<T> to = in_rows_ ? Images<T>{h, images, c, rows, width, rows * width * c, 1, width * c, c}
                                : Images<T>{h, images, c, rows, width, rows * width, columns_, width, 1};
  const ConvWeight<A> weight{depthwise_.weight, weight_strides(shape, false)};
  return std::make_unique<Convolution<T>>(std::vector<ConvPass>{forward_pass(shape)}, x, to, weight, depthwise_.bias,
                                          depthwise_.relu, depthwise_.packed);
}

template <typename T>
TransformJob<T> SeparableConv2d<T>::of_tile(const Tile& tile, const T* h) const {
  const int64_t width = depthwise_.shape.out[1], pixels = tile.rows * width, count = tile.images * pixels;
  const bool one = y_.rows() || tile.images == 1;  // run of points
  TransformJob<T> job = job_;
  job.in = {h, one ? 1 : tile.images, channels_, one ? count : pixels, pixels, columns_, 1};
  job.out.data = y_.data + tile.image * y_.batch_stride + tile.row * width * y_.pixel_stride;
  job.out.batch = job.in.batch, job.out.pixels = job.in.pixels, job.out.batch_stride = y_.batch_stride;
  job.points = one ? PointTiles{0, count, 1, 1, columns_} : PointTiles{tile.images, 0, 0, 1, columns_};
  job.groups = 1;
  if constexpr (std::is_same_v<T, A>) job.in_place = h;
  return job;
}

// What the depthwise convolution of a tile reads, where x lies close.
template <typename T>
Ahead SeparableConv2d<T>::source(const Tile& tile) const {
  const int64_t size = sizeof(T), row = x_.width * (x_.pixel_stride == 1 ? 1 : channels_);
  const int64_t lines = ceil_div(bands_[tile.band].height * row * size, kLine);
  if (tile.images > 1) return {tile.x, ceil_div(x_.width * x_.height * channels_ * size, kLine), x_.batch_stride * size, tile.images};
  return {tile.x, lines, x_.channel_stride * size, x_.pixel_stride == 1 ? channels_ : 1};
}

template <typename T>
void SeparableConv2d<T>::share(void* memory) {
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(memory) + kLine - 1) / kLine * kLine;
  T* const h = reinterpret_cast<T*>(aligned);
  const ConvShape& s = depthwise_.shape;
  whole_ = convolution(y_.batch, s.out[0], -s.padding[0], x_.height, h);
  View<const T> in{h, y_.batch, channels_, y_.pixels, y_.pixels, columns_, 1};
  if (in_rows_) in.batch_stride = y_.pixels * channels_, in.channel_stride = 1, in.pixel_stride = channels_;
  if (few_) {
    few_job_.windows = pointwise_.windows;
    few_job_.weight = pointwise_.taps, few_job_.filter_stride = pointwise_.windows.width;
    few_job_.bias = pointwise_.bias, few_job_.relu = pointwise_.relu;
    few_job_.x = in, few_job_.out = y_;
    return;
  }
  job_.in = in;
  if constexpr (std::is_same_v<T, A>)
    if (job_.points.count == 1) job_.in_place = h, job_.points.columns = columns_;
}

template <typename T>
int64_t SeparableConv2d<T>::tasks(int stage) const {
  if (stages() == 1) return static_cast<int64_t>(tiles_.size());
  if (stage == 0) return whole_->tasks();
  return few_ ? y_.channels : job_.points.count * job_.groups;
}

template <typename T>
int64_t SeparableConv2d<T>::grain(int stage) const {
  return stage == 1 && few_ ? 1 + kFewWorkAThread / (pointwise_.windows.width * y_.points()) : 1;
}

template <typename T>
void SeparableConv2d<T>::run(int stage, int64_t begin, int64_t end) const {
  if (stages() == 2) {
    if (stage == 0) whole_->run(begin, end);
    else if (few_) kernels<T>().few_forward(few_job_, begin, end);
    else kernels<T>().transform(job_, begin, end);
    return;
  }
  T* const h = static_cast<T*>(tile_memory(channels_ * columns_ * static_cast<int64_t>(sizeof(T))));
  for (int64_t i = begin; i < end; ++i) {
    const Tile& tile = tiles_[i];
    const Convolution<T>& depthwise = *bands_[tile.band].convolution;
    depthwise.run(0, depthwise.tasks(), tile.x, h);
    TransformJob<T> job = of_tile(tile, h);
    if (i + 1 < end) job.ahead = source(tiles_[i + 1]);
    kernels<T>().transform(job, 0, 1);
  }
}

template class SeparableConv2d<float>;
template class SeparableConv2d<double>;
template class SeparableConv2d<BFloat16>;

}  // namespace multipath_gcn
