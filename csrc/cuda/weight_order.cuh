// What is prepared once per call: the order of filters inside tiles, and weights laid out for the tensor cores.
//
//   order[tile of `size` neighbouring filters] = those filters by start
//   packed[result, term] = B[term, result], zero outside windows and in the padding
//   flags[tile, chunk] = {some, all}: bit (step, eight results) is set where some product, and where every product, of
//                        that 8 x step block is inside a window
#pragma once
#include "window.cuh"

namespace multipath_gcn::gpu {

// One thread per filter: its rank is the number of filters of the tile that come before it.
static __global__ void __launch_bounds__(kThreads) tile_order_kernel(Windows windows, int* order, int size) {
  int* starts = reinterpret_cast<int*>(shared_memory());
  const int i = threadIdx.x;
  for (int64_t first = int64_t{blockIdx.x} * size; first < windows.filters; first += int64_t{gridDim.x} * size) {
    const int count = static_cast<int>(at_most(size, windows.filters - first));
    const int start = i < count ? windows.start_of(static_cast<int>(first) + i) : 0;
    __syncthreads();  // the tile before has been ranked
    if (i < count) starts[i] = start;
    __syncthreads();
    if (i >= count) continue;
    int rank = 0;
    for (int j = 0; j < count; ++j) rank += starts[j] < start || (starts[j] == start && j < i);
    order[first + rank] = static_cast<int>(first) + i;
  }
}

// One block per tile and chunk.
template <typename T>
__global__ void __launch_bounds__(kThreads) pack_kernel(const BandArgs<T> args, T* packed, uint2* flags, int64_t chunks,
                                                        int64_t blocks, int tile_results) {
  constexpr int kChunk = 64 / sizeof(T), kStep = kChunk / 2;
  unsigned* bits = reinterpret_cast<unsigned*>(shared_memory());  // inside, outside
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t first_result = block / chunks * tile_results, first_term = block % chunks * kChunk;
    __syncthreads();
    if (threadIdx.x < 2) bits[threadIdx.x] = 0;
    __syncthreads();
    unsigned inside = 0, outside = 0;
    for (int e = threadIdx.x; e < tile_results * kChunk; e += kThreads) {
      const int r = e / kChunk, t = e % kChunk;
      const Name result = result_name(args, first_result + r), term = term_name(args, first_term + t);
      const int64_t offset = weight_offset(args, result, term);
      packed[(first_result + r) * (chunks * kChunk) + first_term + t] = offset >= 0 ? args.weight[offset] : narrow<T>(0.0f);
      const unsigned bit = 1u << (t / kStep * 16 + r / 8);
      if (offset >= 0) {
        inside |= bit;
      } else if (result.id >= 0 && term.id >= 0) {
        outside |= bit;
      }
    }
    atomicOr(bits, inside);
    atomicOr(bits + 1, outside);
    __syncthreads();
    if (threadIdx.x == 0) flags[block] = make_uint2(bits[0], bits[0] & ~bits[1]);
  }
}

}  // namespace multipath_gcn::gpu
