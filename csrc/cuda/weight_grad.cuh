// Weight gradient: what its two kernels share, and the sum over their parts.
//
//   dweight[f, k] = sum_p grad[p, f] x[p, (start[f] + k) mod C]
//
// The points are split; each part is a product grad^T x of its points, of which only the pairs (f, c) inside a window are
// computed, by tiles, and kept, at partial[part, f, k]. The parts are then added in their order: no atomics, the same bits
// every time.
#pragma once
#include "window.cuh"

namespace multipath_gcn::gpu {

template <typename T>
struct WeightGradArgs {
  View<const T> grad, x;
  Accumulate<T>* partial;  // [splits, filters, width]
  Windows windows;
  int64_t points_per_split, tiles;  // tiles of one part are neighbours: they share its points
  int filter_tiles, channel_tiles;
  bool rows;                // both views are; else both are planes
  int64_t step_images, step_pixels;  // a chunk of points, by the pixels of an image
  int grad_bytes, x_bytes;           // per copy, in weight_grad_mma.cuh
};

struct GradPlace {
  int64_t split, first_filter, begin, end;  // points [begin, end)
  int first_channel, end_channel;
};

template <typename T>
__device__ __forceinline__ GradPlace grad_place(const WeightGradArgs<T>& args, int64_t tile, int filters, int channels) {
  const int64_t per_split = int64_t{args.filter_tiles} * args.channel_tiles, within = tile % per_split;
  const int64_t points = args.x.batch * args.x.pixels;
  GradPlace place;
  place.split = tile / per_split;
  place.first_filter = within / args.channel_tiles * filters;
  place.first_channel = static_cast<int>(within % args.channel_tiles) * channels;
  place.end_channel = static_cast<int>(at_most(int64_t{place.first_channel} + channels, args.windows.channels));
  place.begin = place.split * args.points_per_split;
  place.end = at_most(place.begin + args.points_per_split, points);
  return place;
}

template <typename T>
__device__ __forceinline__ Name filter_name(const WeightGradArgs<T>& args, int64_t position, bool ordered) {
  if (position >= args.windows.filters) return {-1, 0};
  const int p = static_cast<int>(position), filter = ordered ? args.windows.filter_at(p) : p;
  return {filter, args.windows.start_of(filter)};
}

template <typename T>
__device__ __forceinline__ void store_partial(const WeightGradArgs<T>& args, const GradPlace& place, Name filter, int channel,
                                              Accumulate<T> value) {
  if (filter.id < 0 || channel >= place.end_channel) return;
  const int64_t width = args.windows.width, offset = args.windows.offset(channel, filter.start);
  if (offset < width) args.partial[(place.split * args.windows.filters + filter.id) * width + offset] = value;
}

// A point on its way through planes, chunk by chunk, without a division per chunk.
struct Walk {
  int64_t pixel, offset;

  template <typename T>
  __device__ __forceinline__ Walk(const View<T>& view, int64_t point)
      : pixel(point % view.pixels), offset(point_offset(view, point)) {}

  template <typename T, typename U>
  __device__ __forceinline__ void advance(const View<T>& view, const WeightGradArgs<U>& args) {
    pixel += args.step_pixels;
    offset += args.step_images * view.batch_stride + args.step_pixels * view.pixel_stride;
    if (pixel >= view.pixels) {
      pixel -= view.pixels;
      offset += view.batch_stride - view.pixels * view.pixel_stride;
    }
  }
};

template <typename T>
__global__ void __launch_bounds__(kThreads) sum_partials_kernel(const Accumulate<T>* partial, T* out, int64_t splits,
                                                                int64_t weights) {
  for (int64_t w = int64_t{blockIdx.x} * kThreads + threadIdx.x; w < weights; w += int64_t{gridDim.x} * kThreads) {
    Accumulate<T> sum = 0;
    for (int64_t s = 0; s < splits; ++s) sum += partial[s * weights + w];
    out[w] = narrow<T>(sum);
  }
}

}  // namespace multipath_gcn::gpu
