// What is decided before the kernels run, from sizes alone: tiles of the band, tiles of points, which kernel. Torch-free, so
// that the operators on tensors and on NumPy arrays decide alike; the caller brings memory and threads.
#pragma once
#include <memory>

#include "band_cache.h"
#include "channel_transform.h"

namespace multipath_gcn {

// The transform or its input gradient.
template <typename T>
class TransformPlan {
 public:
  TransformPlan(const Windows& windows, bool transposed);

  // Rearranged weights in one piece of memory: those of the tiles, then those of the tiles in pairs where kernels use them.
  int64_t bytes() const;
  // parallel(count, grain, body): calls body(begin, end) on parts of 0 ... count.
  template <typename Parallel>
  void pack(const Weight<T>& weight, void* memory, Parallel&& parallel) const {
    const PackJob<T> job{&windows_, transposed_, weight};
    parallel(tiles(*band_), grain(*band_), [&](int64_t begin, int64_t end) {
      kernels<T>().pack_weight(job, *band_, values(memory), begin, end);
    });
    if (!paired_) return;
    parallel(tiles(*paired_), grain(*paired_), [&](int64_t begin, int64_t end) {
      kernels<T>().pack_pairs(job, *band_, *paired_, pairs(memory), begin, end);
    });
  }

  // items = points.count * groups. bias: [outputs] or null.
  TransformJob<T> job(const Weight<T>& weight, const Accumulator<T>* bias, bool relu, View<const T> in, View<T> out,
                      int64_t threads) const;

  // Whether the weight should be rearranged once for all threads. Otherwise each does that for itself, which is no more work
  // in all where they share out the tiles of the band, or the weight is read where it lies.
  bool packs_once(const TransformJob<T>& job) const {
    return !job.weight_in_place && bytes() > (job.groups > 1 ? kOwnTiles : kOwnWeight);
  }
  void use(TransformJob<T>& job, const void* packed) const;  // from pack()

 private:
  static int64_t tiles(const Band& band) { return static_cast<int64_t>(band.tiles.size()); }
  static int64_t grain(const Band& band) {
    constexpr int64_t kWeightsWorthAThread = 32768;
    return 1 + kWeightsWorthAThread * tiles(band) / std::max<int64_t>(1, band.weights);
  }
  Accumulator<T>* values(void* memory) const { return static_cast<Accumulator<T>*>(memory); }
  Pair* pairs(void* memory) const { return reinterpret_cast<Pair*>(values(memory) + band_->weights); }

  static constexpr int64_t kOwnWeight = 1 << 20, kOwnTiles = 16 << 20;  // bytes that a thread keeps for its next call

  Windows windows_;
  bool transposed_;
  std::shared_ptr<const Band> band_, paired_;
};

// The weight gradient. Chunks and tiles depend on the sizes alone, never on the threads: sums are the same to the last bit.
template <typename T>
class WeightGradPlan {
 public:
  WeightGradPlan(const Windows& windows, View<const T> x, View<const T> grad, int64_t threads);
  int64_t partial_size() const { return job_.chunks * job_.partial_stride; }
  int64_t items() const { return job_.chunks * job_.groups; }
  int64_t tiles() const { return static_cast<int64_t>(band_->tiles.size()); }
  int64_t grain() const { return 1 + 32768 * tiles() / (band_->outputs * job_.width * job_.chunks); }
  const WeightGrad<T>& kernel() const { return *kernel_; }
  WeightGradJob<T> job(Accumulator<T>* partial, T* weight_grad) const;  // weight_grad: [O, K]

 private:
  std::shared_ptr<const Band> band_;
  const WeightGrad<T>* kernel_;
  WeightGradJob<T> job_;
};

}  // namespace multipath_gcn
