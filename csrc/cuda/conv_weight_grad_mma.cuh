// Gradient of a grouped convolution by its weight on the tensor cores, for 16-bit types: what conv_weight_grad.cuh computes,
// as products
//
//   [16 filters, 16 positions] [16 positions, 8 kTermBlocks terms]        one warp's, again and again
//
// of which a term is one channel at one tap, channels running first. Values are read from the images themselves, as in
// conv_mma.cuh. A warp takes its share of a slice's positions; a block adds its warps up in order, and add_slabs_kernel the
// slices.
#pragma once
#include "conv_mma.cuh"
#include "conv_weight_grad.cuh"

namespace multipath_gcn::gpu {

// Where a term is from where a position begins, and which bits a position's mask must have.
struct ConvGradTerm {
  int64_t offset;
  unsigned bits;
};

// Groups run first; then blocks of filters, then blocks of terms.
struct ConvProductUnit {
  int64_t group, filter, term;
  bool busy;

  __device__ __forceinline__ ConvProductUnit(const ConvShape& shape, const ConvGradTiles& tiles, int64_t unit) {
    const Split by_group = split(unit, shape.groups), by_filters = split(by_group.quotient, tiles.filter_blocks);
    group = by_group.remainder, filter = by_filters.remainder * 16, term = by_filters.quotient * 8 * kTermBlocks;
    busy = unit < tiles.units;
  }
};

__device__ __forceinline__ int64_t terms_of(const ConvShape& shape) {
  return shape.channels * shape.kernel[0] * shape.kernel[1];
}

template <typename T>
__device__ __forceinline__ void stage_grad_terms(const ConvGradArgs<T>& args, int64_t unit_tile) {
  const ConvShape& shape = args.shape;
  auto* const to = reinterpret_cast<ConvGradTerm*>(shared_memory());
  for (int e = threadIdx.x; e < args.tiles.block.units * 8 * kTermBlocks; e += kThreads) {
    const ConvProductUnit unit(shape, args.tiles, unit_tile * args.tiles.block.units + e / (8 * kTermBlocks));
    const int64_t term = unit.term + e % (8 * kTermBlocks);
    const Split by = split(term, shape.channels), tap = split(by.quotient, shape.kernel[1]);
    to[e] = {0, ~0u};  // no mask has all bits
    if (term < terms_of(shape))
      to[e] = {by.remainder * args.x.channel + tap.quotient * shape.dilation[0] * args.x.row +
                   tap.remainder * shape.dilation[1] * args.x.column,
               row_bit(as_int(tap.quotient)) | column_bit(as_int(tap.remainder))};
  }
}

// Sums over the warps of a unit, in their order.
template <typename T>
__device__ __forceinline__ void add_warps(const ConvGradArgs<T>& args, int64_t unit_tile, int64_t slice) {
  constexpr int kTerms = 8 * kTermBlocks;
  const ConvShape& shape = args.shape;
  const int units = args.tiles.block.units;
  const float* const all = reinterpret_cast<const float*>(shared_memory());  // [warps, filters, terms]
  for (int e = threadIdx.x; e < units * 16 * kTerms; e += kThreads) {
    const int u = e / (16 * kTerms), place = e % (16 * kTerms);
    const ConvProductUnit unit(shape, args.tiles, unit_tile * units + u);
    const int64_t filter = unit.filter + place / kTerms, term = unit.term + place % kTerms;
    if (!unit.busy || filter >= shape.filters || term >= terms_of(shape)) continue;
    float sum = 0;
    for (int warp = u; warp < kWarps; warp += units) sum += all[warp * 16 * kTerms + place];
    const Split by = split(term, shape.channels);
    const int64_t o = (slice * shape.groups + unit.group) * shape.filters + filter;
    args.partial[(o * shape.channels + by.remainder) * shape.kernel[0] * shape.kernel[1] + by.quotient] = sum;
  }
}

template <typename T>
__device__ __forceinline__ uint32_t bits_if(bool there, const T* from) {
  return there ? aligned_at<const uint16_t>(from) : 0;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) conv_weight_grad_mma_kernel(const ConvGradArgs<T> args) {
  constexpr unsigned kAll = 0xffffffffu;
  constexpr int kTerms = 8 * kTermBlocks;
  const ConvShape& shape = args.shape;
  const ConvGradTiles& tiles = args.tiles;
  const ConvAxis rows = forward_axis(shape, 0), columns = forward_axis(shape, 1);
  const int warp = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const int u = warp % tiles.block.units;
  for (int64_t i = blockIdx.x; i < tiles.unit_tiles * tiles.slices; i += gridDim.x) {
    const Split item = split(i, tiles.unit_tiles);  // what reads the same positions runs side by side
    __syncthreads();                                // the sums before have been read
    stage_grad_terms(args, item.remainder);
    __syncthreads();
    const ConvProductUnit unit(shape, tiles, item.remainder * tiles.block.units + u);
    const int blocks = as_int(at_most(ceil_div(terms_of(shape) - unit.term, 8), kTermBlocks));
    const int64_t past = at_most((item.quotient + 1) * tiles.positions_per_slice, tiles.positions);
    const int64_t filter = unit.filter + lane / 4;
    const bool has[2] = {filter < shape.filters, filter + 8 < shape.filters};
    const T* const grad = args.grad.data + (unit.group * shape.filters + filter) * args.grad.channel;
    const T* const x = args.x.data + unit.group * shape.channels * args.x.channel;
    const auto* const terms = reinterpret_cast<const ConvGradTerm*>(shared_memory()) + u * kTerms + lane / 4;
    float sums[kTermBlocks][4] = {};
    int64_t first = item.quotient * tiles.positions_per_slice + warp / tiles.block.units * 16;
    for (; unit.busy && first < past; first += tiles.block.lanes) {
      const ConvPixel own(args.x, args.grad, rows, columns, first + lane % 16, past);
      int64_t in[4];
      unsigned mask[4];
      uint32_t a[4] = {};
#pragma unroll
      for (int j = 0; j < 4; ++j) {  // the positions of this lane's part of the products
        const int from = lane % 4 * 2 + j % 2 + j / 2 * 8;
        in[j] = __shfl_sync(kAll, own.in, from);
        mask[j] = __shfl_sync(kAll, own.mask, from);
        const int64_t out = __shfl_sync(kAll, own.out, from);
#pragma unroll
        for (int h = 0; h < 2; ++h)
          a[h + j / 2 * 2] |= bits_if(out >= 0 && has[h], grad + out + h * 8 * args.grad.channel) << j % 2 * 16;
      }
#pragma unroll
      for (int block = 0; block < kTermBlocks; ++block) {
        if (block >= blocks) break;
        const ConvGradTerm& term = terms[block * 8];
        uint32_t b[2] = {};
#pragma unroll
        for (int j = 0; j < 4; ++j)
          b[j / 2] |= bits_if((mask[j] & term.bits) == term.bits, x + in[j] + term.offset) << j % 2 * 16;
        multiply_add<T>(sums[block], a, b);
      }
    }
    __syncthreads();  // the terms have been read
    float* const to = reinterpret_cast<float*>(shared_memory()) + warp * 16 * kTerms;
#pragma unroll
    for (int block = 0; block < kTermBlocks; ++block)
#pragma unroll
      for (int e = 0; e < 4; ++e) to[(lane / 4 + e / 2 * 8) * kTerms + block * 8 + lane % 4 * 2 + e % 2] = sums[block][e];
    __syncthreads();
    add_warps(args, item.remainder, item.quotient);
  }
}

}  // namespace multipath_gcn::gpu
