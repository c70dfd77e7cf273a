// Grouped convolution and its gradient by x on the tensor cores, for 16-bit types: what conv.cuh computes, as products
//
//   [32 positions, terms] [terms, 8 kBlocks filters]        one warp's work
//
// of which a *term* is one channel at one tap, channels running first, an even number of them. No matrix of windows is made:
// a lane reads its two terms of a position from the image itself, at an offset that a table holds for the term, where a mask
// of the position says that this lies inside. What other taps read too is in the first cache.
#pragma once
#include "conv.cuh"

namespace multipath_gcn::gpu {

// Two terms: how far they are from where a position begins, and their weights from where a filter's do; which bits a
// position's mask must have; and how many there are.
struct ConvTerms {
  int64_t offset, weight;
  unsigned bits;
  int count;
};
static_assert(sizeof(ConvTerms) == kConvTermBytes);

__device__ __forceinline__ ConvTerms* conv_terms() { return reinterpret_cast<ConvTerms*>(shared_memory() + kConvItemBytes); }

__device__ __forceinline__ unsigned row_bit(int r) { return 1u << r; }
__device__ __forceinline__ unsigned column_bit(int s) { return 1u << (16 + s); }

// One position: where it begins in x and y, and which rows and columns of taps find it inside of the image.
struct ConvPixel {
  int64_t in = 0, out = -1;
  unsigned mask = 0;

  template <typename X, typename Y>
  __device__ __forceinline__ ConvPixel(const Strided<X>& x, const Strided<Y>& y, const ConvAxis& rows, const ConvAxis& columns,
                                       int64_t position, int64_t positions) {
    if (position >= positions) return;
    const ConvPosition at(position, rows.size, columns.size, 1);
    const int row = at.row * rows.read_step + rows.origin, column = at.column * columns.read_step + columns.origin;
    in = at.image * x.batch + row * x.row + column * x.column;
    out = at.image * y.batch + (rows.first + int64_t{at.row} * rows.step) * y.row +
          (columns.first + int64_t{at.column} * columns.step) * y.column;
    for (int r = 0; r < rows.taps; ++r)
      if (within(row + r * rows.dilation, rows.limit)) mask |= row_bit(r);
    for (int s = 0; s < columns.taps; ++s)
      if (within(column + s * columns.dilation, columns.limit)) mask |= column_bit(s);
  }
};

// Terms of steps [begin, end), as pairs, and their weights, as [step, unit, block, lane, word, half].
template <int kBlocks, typename T>
__device__ __forceinline__ void stage_terms(const ConvArgs<T>& args, const ConvItem& item, int64_t begin, int64_t end) {
  const int64_t channels = round_up(args.work.channels, 2), all = channels * item.rows.taps * item.columns.taps;
  const int count = static_cast<int>(end - begin), units = args.tiles.block.units;
  const int64_t apart = ConvFilter<T>(args, 0, 0).apart, width = args.work.shape.kernel[1];
  ConvTerms* const pairs = conv_terms();
  for (int e = threadIdx.x; e < count * 8; e += kThreads) {
    const int64_t term = begin * 16 + e * 2;
    const Split by = split(term, channels), tap = split(by.quotient, item.columns.taps);
    const int64_t c = by.remainder;
    const int r = as_int(tap.quotient), s = as_int(tap.remainder);
    if (term < all) {
      pairs[e] = {c * args.x.channel + int64_t{r} * item.rows.dilation * args.x.row +
                      int64_t{s} * item.columns.dilation * args.x.column,
                  c * apart + place_in_kernel(item, width, r, s), row_bit(r) | column_bit(s), c + 1 < args.work.channels ? 2 : 1};
    } else {
      pairs[e] = {0, 0, ~0u, 0};  // no mask has all bits
    }
  }
  __syncthreads();
  T* const weights = reinterpret_cast<T*>(pairs + args.tiles.steps * 8);
  const int slot = static_cast<int>(threadIdx.x) % 128, lane = slot / 4, half = slot % 2, pair = lane % 4 + slot % 4 / 2 * 4;
  for (int block = 0; block < units * kBlocks; ++block) {
    const ConvUnit unit(args.tiles, item.unit_tile * units + block / kBlocks, kBlocks * 8);
    const int64_t number = unit.filter + block % kBlocks * 8 + lane / 4;
    const bool is = unit.busy && number < args.work.filters;
    const ConvFilter<T> filter(args, unit.group, number);
    for (int step = static_cast<int>(threadIdx.x) / 128; step < count; step += kThreads / 128) {
      const ConvTerms& terms = pairs[step * 8 + pair];
      weights[(step * units * kBlocks + block) * 128 + slot] =
          is && half < terms.count ? filter.of[terms.weight + half * apart] : narrow<T>(0.0f);
    }
  }
}

// The two terms of a position, the first in the lower half.
template <bool kPairs, typename T>
__device__ __forceinline__ uint32_t load_terms(const T* image, int64_t in, unsigned mask, const ConvTerms& terms, int64_t apart) {
  if ((mask & terms.bits) != terms.bits) return 0;
  const T* const from = image + in + terms.offset;
  if constexpr (kPairs) return aligned_at<const uint32_t>(from);
  const uint32_t low = aligned_at<const uint16_t>(from);
  return terms.count == 2 ? low | uint32_t{aligned_at<const uint16_t>(from + apart)} << 16 : low;
}

template <int kBlocks, bool kPairs, typename T>
__global__ void __launch_bounds__(kThreads, 2) conv_mma_kernel(const ConvArgs<T> args) {
  constexpr unsigned kAll = 0xffffffffu;
  const ConvWork& work = args.work;
  const ConvTiles& tiles = args.tiles;
  const int warp = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t items = tiles.items(work);
  for (int64_t i = blockIdx.x; i < items; i += gridDim.x) {
    ConvItem& item = conv_item();
    __syncthreads();  // the item before is done
    if (threadIdx.x == 0) item = ConvItem(args, i);
    __syncthreads();
    const int u = warp % tiles.block.units;
    const ConvUnit unit(tiles, item.unit_tile * tiles.block.units + u, kBlocks * 8);
    const int64_t positions = work.batch * item.rows.size * item.columns.size;
    const int64_t terms = round_up(work.channels, 2) * item.rows.taps * item.columns.taps, steps = ceil_div(terms, 16);
    const T* const image = args.x.data + unit.group * work.channels * args.x.channel;
    bool staged = false;
    for (int64_t first = item.share * tiles.block.lanes; first < positions; first += tiles.shares * tiles.block.lanes) {
      const int64_t warp_first = first + warp / tiles.block.units * kLanes;
      const ConvPixel own(args.x, args.y, item.rows, item.columns, warp_first + lane, positions);
      int64_t in[4];
      unsigned mask[4];
#pragma unroll
      for (int q = 0; q < 4; ++q) {  // the positions of this lane's rows of the product
        in[q] = __shfl_sync(kAll, own.in, q * 8 + lane / 4);
        mask[q] = __shfl_sync(kAll, own.mask, q * 8 + lane / 4);
      }
      float sums[2][kBlocks][4] = {};

      for (int64_t begin = 0; begin < steps; begin += tiles.steps) {
        const int64_t end = at_most(begin + tiles.steps, steps);
        if (!staged || steps > tiles.steps) {
          __syncthreads();  // the terms before have been read
          stage_terms<kBlocks>(args, item, begin, end);
          __syncthreads();
          staged = true;
        }
        if (!unit.busy) continue;
        const ConvTerms* pairs = conv_terms() + lane % 4;
        const auto* weights = reinterpret_cast<const uint2*>(conv_terms() + tiles.steps * 8) + u * kBlocks * kLanes + lane;
#pragma unroll 2
        for (int64_t step = begin; step < end; ++step, pairs += 8, weights += tiles.block.units * kBlocks * kLanes) {
          uint32_t a[2][4];
#pragma unroll
          for (int w = 0; w < 2; ++w) {
            const ConvTerms& terms = pairs[w * 4];
#pragma unroll
            for (int q = 0; q < 4; ++q)
              a[q / 2][q % 2 + w * 2] = load_terms<kPairs>(image, in[q], mask[q], terms, args.x.channel);
          }
#pragma unroll
          for (int block = 0; block < kBlocks; ++block) {
            const uint2 both = weights[block * kLanes];
            const uint32_t b[2] = {both.x, both.y};
#pragma unroll
            for (int m = 0; m < 2; ++m) multiply_add<T>(sums[m][block], a[m], b);
          }
        }
      }
      if (!unit.busy) continue;
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int64_t out = __shfl_sync(kAll, own.out, q * 8 + lane / 4);
#pragma unroll
        for (int block = 0; block < kBlocks; ++block)
          if (out >= 0)
            store_filters<2>(args, unit.group, unit.filter + block * 8 + lane % 4 * 2, out,
                             {sums[q / 2][block][q % 2 * 2], sums[q / 2][block][q % 2 * 2 + 1]});
      }
    }
  }
}

}  // namespace multipath_gcn::gpu
