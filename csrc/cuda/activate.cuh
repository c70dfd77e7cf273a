// y[i, f] = drop(relu(x[i, f] + bias[f])), as activation.cuh has it, and its gradients
//
//   dx[i, f] = scale grad[i, f] where kept has a bit, else 0        dbias[f] = sum_i dx[i, f]
//
// The rows are cut into slabs. A block goes through one of them, each of its warps' items by every items-th row, and
// adds up the items' sums in their order: partial[slab, f]. A second kernel adds the slabs, again each thread every so
// many, and then the threads.
#pragma once
#include "activation.cuh"

namespace multipath_gcn::gpu {

template <typename T>
struct ActivateArgs {
  const T* x;  // [rows, F]
  int64_t rows, x_stride;
  T* y;
  RowTiles tiles;
};

template <typename T, int kWord>
__global__ void __launch_bounds__(kThreads) activate_kernel(const ActivateArgs<T> args,
                                                            const Activation<T> activation) {
  const int64_t per_chunk = args.tiles.tiles_per_chunk(args.rows);
  for_tiles(per_chunk * args.tiles.chunks, [&](int64_t tile) {
    const Lane<kWord> lane(args.tiles, tile / per_chunk);
    int64_t row = tile % per_chunk * args.tiles.items + lane.item;
    if (!lane.busy || row >= args.rows) row = -1;
    Values<Accumulate<T>, kWord> values;
#pragma unroll
    for (int p = 0; p < lane.kWords; ++p) {
      if (row < 0 || !lane.has(p)) continue;
      const auto x = load<kWord>(args.x + row * args.x_stride + lane.feature(p));
#pragma unroll
      for (int k = 0; k < kWord; ++k) values.of[p][k] = widen(x.value[k]);
    }
    store_row(activation, args.tiles, lane, row, values, args.y);
  });
}

template <typename T>
struct ActivateGradArgs {
  const T* grad;  // [rows, F]
  int64_t rows, grad_stride;
  const uint8_t* kept;  // [rows, ceil(F / 8)] or null
  Accumulate<T> scale;
  T* dx;                   // [rows, F]
  Accumulate<T>* partial;  // [slabs, F]
  RowTiles tiles;
  Slabs slabs;
};

template <typename T, int kWord>
__global__ void __launch_bounds__(kThreads) activate_grad_kernel(const ActivateGradArgs<T> args) {
  using S = Accumulate<T>;
  const int64_t features = args.tiles.features, kept_bytes = ceil_div(features, 8);
  const int items = kWarps * args.tiles.items;
  S* sums = reinterpret_cast<S*>(shared_memory());  // [items, chunk]
  for (int64_t tile = blockIdx.x; tile < args.slabs.count * args.tiles.chunks; tile += gridDim.x) {
    const int64_t slab = tile % args.slabs.count, first = slab * args.slabs.rows;
    const int64_t past = at_most(first + args.slabs.rows, args.rows);
    const Lane<kWord> lane(args.tiles, tile / args.slabs.count);
    const int item = threadIdx.x / kLanes * args.tiles.items + lane.item;
    Values<S, kWord> sum;
    for (int64_t row = first + item; row < past; row += items) {
#pragma unroll
      for (int p = 0; p < lane.kWords; ++p) {
        if (!lane.has(p)) continue;
        const int64_t f = lane.feature(p);
        const auto grad = load<kWord>(args.grad + row * args.grad_stride + f);
        const unsigned bits = args.kept ? args.kept[row * kept_bytes + f / 8] >> (f % 8) : 0;
        Vector<T, kWord> dx;
#pragma unroll
        for (int k = 0; k < kWord; ++k) {
          const S g = widen(grad.value[k]);
          const S d = !args.kept ? g : bits >> k & 1 ? g * args.scale : S(0);
          sum.of[p][k] += d;
          dx.value[k] = narrow<T>(d);
        }
        store(args.dx + row * features + f, dx);
      }
    }
    __syncthreads();  // the slab before has been added up
#pragma unroll
    for (int p = 0; p < lane.kWords; ++p)
      for (int k = 0; k < kWord; ++k)
        if (lane.has(p)) sums[item * args.tiles.chunk + lane.feature(p) - lane.first + k] = sum.of[p][k];
    __syncthreads();
    for (int64_t f = lane.first + threadIdx.x; f < lane.end; f += kThreads) {
      S total = 0;
      for (int i = 0; i < items; ++i) total += sums[i * args.tiles.chunk + f - lane.first];
      args.partial[slab * features + f] = total;
    }
  }
}

// A warp's lanes take neighbouring features, a block's warps every kWarps-th slab.
template <typename T>
__global__ void __launch_bounds__(kThreads) add_slabs_kernel(const Accumulate<T>* partial, T* out, int64_t slabs,
                                                             int64_t features) {
  using S = Accumulate<T>;
  S* sums = reinterpret_cast<S*>(shared_memory());  // [kWarps, kLanes]
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  for (int64_t first = int64_t{blockIdx.x} * kLanes; first < features; first += int64_t{gridDim.x} * kLanes) {
    const int64_t f = first + lane;
    S sum = 0;
    if (f < features)
      for (int64_t s = warp; s < slabs; s += kWarps) sum += partial[s * features + f];
    __syncthreads();  // the features before have been added up
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (warp != 0 || f >= features) continue;
    for (int w = 1; w < kWarps; ++w) sum += sums[w * kLanes + lane];
    out[f] = narrow<T>(sum);
  }
}

}  // namespace multipath_gcn::gpu
