// Windows on the device, and what the kernels of the forward transform and the input gradient are given.
//
//   forward         y[p, f] = act(bias[f] + sum_c x[p, c] B[c, f])     results are filters, terms are channels
//   input gradient  dx[p, c] = sum_f g[p, f] B[c, f]                   results are channels, terms are filters
//   B[c, f] = weight[f, (c - start[f]) mod C] where that offset is below K; elsewhere there is no product at all
#pragma once
#include "../kernels/view.h"
#include "element.cuh"
#include "launch_shape.h"

namespace multipath_gcn::gpu {

struct Windows {
  const int* start;  // [filters], any integers
  const int* order;  // [filters], the filters in the order in which tiles take them
  int channels, filters, width;

  // Both hold for any content of the arrays: nothing outside a tensor is ever read.
  __device__ __forceinline__ int start_of(int filter) const {
    const int rest = start[filter] % channels;
    return rest < 0 ? rest + channels : rest;
  }
  __device__ __forceinline__ int filter_at(int position) const { return min(max(order[position], 0), filters - 1); }

  __device__ __forceinline__ int offset(int channel, int start) const {
    return channel < start ? channel - start + channels : channel - start;
  }
  __device__ __forceinline__ bool inside(int channel, int start) const { return offset(channel, start) < width; }
  // Whether a window has a channel in [begin, end).
  __device__ __forceinline__ bool touches(int start, int begin, int end) const {
    return begin < end && (inside(begin, start) || (begin <= start && start < end));
  }
};

template <typename T>
struct BandArgs {
  View<const T> in;
  View<T> out;
  const T* weight;
  int64_t filter_stride, offset_stride;  // of weight [filters, width]
  const T* bias;                         // [filters] or null; the forward's alone
  Windows windows;
  int64_t points, tiles;  // tiles of points x results; neighbours share their points
  int result_tiles;
  bool grad;           // the input gradient
  bool terms_ordered;  // terms are taken in the windows' order, else as they are numbered
  bool rows;           // both views are; else both are planes
  bool relu;

  __device__ __forceinline__ int results() const { return grad ? windows.channels : windows.filters; }
  __device__ __forceinline__ int terms() const { return grad ? windows.filters : windows.channels; }
};

// A result or term as the rest of a kernel knows it: which channel of its tensor it is, -1 past the end, and for filters
// where the window starts.
struct Name {
  int id, start;
};

template <typename T>
__device__ __forceinline__ Name result_name(const BandArgs<T>& args, int64_t position) {
  if (position >= args.results()) return {-1, 0};
  const int p = static_cast<int>(position);
  if (args.grad) return {p, 0};
  const int filter = args.windows.filter_at(p);
  return {filter, args.windows.start_of(filter)};
}

template <typename T>
__device__ __forceinline__ Name term_name(const BandArgs<T>& args, int64_t position) {
  if (position >= args.terms()) return {-1, 0};
  const int p = static_cast<int>(position);
  if (!args.grad) return {p, 0};
  const int filter = args.terms_ordered ? args.windows.filter_at(p) : p;
  return {filter, args.windows.start_of(filter)};
}

// Where the weight of a pair lies, or -1 where the window does not reach.
template <typename T>
__device__ __forceinline__ int64_t weight_offset(const BandArgs<T>& args, Name result, Name term) {
  if (result.id < 0 || term.id < 0) return -1;
  const Name filter = args.grad ? term : result;
  const int offset = args.windows.offset(args.grad ? result.id : term.id, filter.start);
  return offset < args.windows.width ? filter.id * args.filter_stride + offset * args.offset_stride : -1;
}

template <typename T>
__device__ __forceinline__ bool pair_inside(const BandArgs<T>& args, Name result, Name term) {
  if (result.id < 0 || term.id < 0) return false;
  return args.windows.inside(args.grad ? result.id : term.id, args.grad ? term.start : result.start);
}

// Where a point lies in a tensor, without its channel.
template <typename T>
__device__ __forceinline__ int64_t point_offset(const View<T>& view, int64_t point) {
  if (view.batch == 1) return point * view.pixel_stride;
  return point / view.pixels * view.batch_stride + point % view.pixels * view.pixel_stride;
}

}  // namespace multipath_gcn::gpu
