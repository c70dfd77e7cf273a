// Forward transform and input gradient on the ordinary arithmetic units: every type, every width.
//
//   out[p, r] = act(bias[r] + sum_t in[p, t] B[t, r])        over the pairs (t, r) inside a window, and only those
//
// A block owns a tile of points x results, a warp some of its results for all of its points, a lane every 32nd point.
// Terms come in chunks of 16 through shared memory: in [term][point] and B [term][result], three chunks under way. Chunks
// that no result needs are never read. In a chunk a warp passes over the terms that none of its results needs, and
// adds a term that only some of them need to those alone: a NaN outside a window cannot reach its filter.
#pragma once
#include "window.cuh"

namespace multipath_gcn::gpu {

template <typename S, typename Tile>
struct FmaShared {
  S* in;                 // [stages][chunk][kPointStride]
  S* weight;             // [stages][chunk][kResultStride]
  int64_t* plane;        // [kPoints]: where points lie in planes
  Name* term;            // [slots][chunk]
  Name* result;          // [kResults]
  unsigned* needed;      // [kMapped / 32]: a bit for every chunk that is; those beyond are taken to be

  __device__ explicit FmaShared(unsigned char* bytes)
      : in(reinterpret_cast<S*>(bytes)),
        weight(reinterpret_cast<S*>(bytes + Tile::kInBytes)),
        plane(reinterpret_cast<int64_t*>(bytes + Tile::kInBytes + Tile::kWeightBytes)),
        term(reinterpret_cast<Name*>(plane + Tile::kPoints)),
        result(term + Tile::kSlots * Tile::kChunk),
        needed(reinterpret_cast<unsigned*>(result + Tile::kResults)) {}

  __device__ __forceinline__ void need(int64_t chunk) const { atomicOr(needed + chunk / 32, 1u << chunk % 32); }

  __device__ __forceinline__ int next_chunk(int chunk, int chunks) const {
    while (chunk < chunks && chunk < Tile::kMapped && (needed[chunk / 32] >> chunk % 32 & 1) == 0) ++chunk;
    return chunk;
  }
};

// One element as an accumulator, or zero.
template <typename S, typename T>
__device__ __forceinline__ void copy_term(S* to, const T* from, bool valid) {
  if constexpr (sizeof(S) == sizeof(T)) {
    copy_async<sizeof(T)>(to, from, valid);
  } else {
    *to = valid ? widen(*from) : S(0);
  }
}

// Marks a chunk as needed where some result of the tile takes part in a product with a term of the chunk.
template <typename Tile, typename S, typename T>
__device__ void mark_chunks(const BandArgs<T>& args, const FmaShared<S, Tile>& shared, int first_result) {
  const Windows& windows = args.windows;
  const int thread = threadIdx.x;
  if (args.grad) {
    const int end = static_cast<int>(at_most(int64_t{first_result} + Tile::kResults, windows.channels));
    const int64_t mapped = at_most(windows.filters, int64_t{Tile::kMapped} * Tile::kChunk);
    for (int64_t base = 0; base < mapped; base += kThreads) {
      const Name term = term_name(args, base + thread);
      const bool touched = term.id >= 0 && windows.touches(term.start, first_result, end);
      const unsigned lanes = __ballot_sync(0xffffffffu, touched);
      const int64_t chunk = (base + thread) / Tile::kChunk;
      if (thread % Tile::kChunk == 0 && chunk < Tile::kMapped && (lanes >> (thread % kLanes) & 0xffffu) != 0)
        shared.need(chunk);
    }
  } else {
    if (thread < Tile::kResults && shared.result[thread].id >= 0) {
      const int64_t start = shared.result[thread].start, end = start + windows.width, wrapped = end - windows.channels;
      for (int64_t c = start / Tile::kChunk; c * Tile::kChunk < at_most(end, windows.channels) && c < Tile::kMapped; ++c)
        shared.need(c);
      for (int64_t c = 0; c * Tile::kChunk < wrapped && c < Tile::kMapped; ++c) shared.need(c);
    }
  }
}

template <typename Tile, typename S, typename T>
__device__ __forceinline__ void copy_chunk(const BandArgs<T>& args, const FmaShared<S, Tile>& shared, int stage, int slot,
                                           int64_t first_point) {
  const int thread = thread_anew(), lane = thread % kLanes, warp = thread / kLanes;
  const Name* term = shared.term + slot * Tile::kChunk;
  S* in = shared.in + stage * Tile::kChunk * Tile::kPointStride;
  S* weight = shared.weight + stage * Tile::kChunk * Tile::kResultStride;
  constexpr int kCopies = Tile::kChunk * Tile::kPoints / kThreads;
  [[maybe_unused]] constexpr int kUnroll = sizeof(S) == 8 ? 1 : 2;  // as many as the registers bear
  if (args.rows) {  // 16 channels of two points per warp, their addresses in 32 banks
    const int t = lane % Tile::kChunk;
    const T* source = args.in.data + term[t].id;
#pragma unroll kUnroll
    for (int i = 0; i < kCopies; ++i) {
      const int pair = warp * kCopies + i, p = pair / 16 * 32 + lane / 16 * 16 + pair % 16;
      const int64_t point = first_point + p;
      copy_term(in + t * Tile::kPointStride + p, source + point * args.in.pixel_stride, term[t].id >= 0 && point < args.points);
    }
  } else {  // 32 points of one channel per warp
    const int p = thread % Tile::kPoints;
    const int64_t point = first_point + p;
    const T* source = args.in.data + shared.plane[p];
#pragma unroll kUnroll
    for (int i = 0; i < kCopies; ++i) {
      const int t = thread / Tile::kPoints + i * (kThreads / Tile::kPoints);
      copy_term(in + t * Tile::kPointStride + p, source + term[t].id * args.in.channel_stride,
                term[t].id >= 0 && point < args.points);
    }
  }
  constexpr int kWeightCopies = Tile::kChunk * Tile::kResults / kThreads;
#pragma unroll kUnroll
  for (int i = 0; i < kWeightCopies; ++i) {  // neighbouring lanes take neighbouring offsets of one filter
    const int e = thread + i * kThreads;
    const int t = args.grad ? e / Tile::kResults : e % Tile::kChunk;
    const int r = args.grad ? e % Tile::kResults : e / Tile::kChunk;
    const int64_t offset = weight_offset(args, shared.result[r], term[t]);
    copy_term(weight + t * Tile::kResultStride + r, args.weight + offset, offset >= 0);
  }
}

// sum[i][j] += in[t][point i] weight[t][result j] where bit j of `wanted` is set.
template <bool kAll, typename Tile, typename S>
__device__ __forceinline__ void add_term(S (&sum)[Tile::kPerLane][Tile::kPerWarp], const S* in, const S* weight, int t,
                                         unsigned wanted) {
  constexpr int kVector = 16 / sizeof(S);
  struct alignas(16) Vector {
    S value[kVector];
  };
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  S x[Tile::kPerLane];
#pragma unroll
  for (int i = 0; i < Tile::kPerLane; ++i) x[i] = in[t * Tile::kPointStride + lane + i * kLanes];
#pragma unroll
  for (int j = 0; j < Tile::kPerWarp; j += kVector) {
    const Vector w = *reinterpret_cast<const Vector*>(weight + t * Tile::kResultStride + warp * Tile::kPerWarp + j);
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      if (kAll || (wanted >> (j + v) & 1)) {
#pragma unroll
        for (int i = 0; i < Tile::kPerLane; ++i) sum[i][j + v] += x[i] * w.value[v];
      }
    }
  }
}

template <typename Tile, typename S, typename T>
__device__ __forceinline__ void add_chunk(const BandArgs<T>& args, const FmaShared<S, Tile>& shared, int stage, int slot,
                                          S (&sum)[Tile::kPerLane][Tile::kPerWarp]) {
  constexpr int kHalf = Tile::kPerWarp / 2;
  constexpr unsigned kEvery = (1u << Tile::kChunk) - 1;
  [[maybe_unused]] constexpr int kUnroll = sizeof(S) == 8 ? 1 : 4;
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes, half = lane / Tile::kChunk;
  const S* in = shared.in + stage * Tile::kChunk * Tile::kPointStride;
  const S* weight = shared.weight + stage * Tile::kChunk * Tile::kResultStride;
  const Name term = shared.term[slot * Tile::kChunk + lane % Tile::kChunk];
  // Lane t and lane t + 16 find out which results of the warp need term t; the others count as not asking.
  unsigned wanted = 0, present = 0;
#pragma unroll 1
  for (int j = 0; j < kHalf; ++j) {
    const Name result = shared.result[warp * Tile::kPerWarp + half * kHalf + j];
    present |= (result.id >= 0 ? 1u : 0u) << (half * kHalf + j);
    wanted |= (pair_inside(args, result, term) ? 1u : 0u) << (half * kHalf + j);
  }
  wanted |= __shfl_xor_sync(0xffffffffu, wanted, Tile::kChunk);
  present |= __shfl_xor_sync(0xffffffffu, present, Tile::kChunk);
  unsigned some = __ballot_sync(0xffffffffu, wanted != 0) & kEvery;
  const unsigned all = __ballot_sync(0xffffffffu, wanted == present) & some;
  if (all == kEvery) {
#pragma unroll kUnroll
    for (int t = 0; t < Tile::kChunk; ++t) add_term<true, Tile>(sum, in, weight, t, 0);
    return;
  }
  while (some) {
    const int t = __ffs(static_cast<int>(some)) - 1;
    some &= some - 1;
    if (all >> t & 1) {
      add_term<true, Tile>(sum, in, weight, t, 0);
    } else {
      add_term<false, Tile>(sum, in, weight, t, __shfl_sync(0xffffffffu, wanted, t));
    }
  }
}

template <typename Tile, typename S, typename T>
__device__ __forceinline__ void store_tile(const BandArgs<T>& args, const FmaShared<S, Tile>& shared,
                                           S (&sum)[Tile::kPerLane][Tile::kPerWarp], int64_t first_point,
                                           int first_result) {
  const int thread = threadIdx.x, lane = thread % kLanes, warp = thread / kLanes;
#pragma unroll
  for (int j = 0; j < Tile::kPerWarp; ++j) {
    const int id = shared.result[warp * Tile::kPerWarp + j].id;
    const S bias = args.bias != nullptr && id >= 0 ? widen(args.bias[id]) : S(0);
#pragma unroll
    for (int i = 0; i < Tile::kPerLane; ++i) {
      sum[i][j] += bias;
      if (args.relu && sum[i][j] < S(0)) sum[i][j] = S(0);
    }
  }
  if (!args.rows) {
#pragma unroll
    for (int i = 0; i < Tile::kPerLane; ++i) {
      const int64_t point = first_point + lane + i * kLanes;
      if (point >= args.points) continue;
      T* to = args.out.data + point_offset(args.out, point);
#pragma unroll
      for (int j = 0; j < Tile::kPerWarp; ++j) {
        const int id = shared.result[warp * Tile::kPerWarp + j].id;
        if (id >= 0) to[id * args.out.channel_stride] = narrow<T>(sum[i][j]);
      }
    }
    return;
  }
  // Rows: through shared memory, 32 points at a time, so that neighbouring lanes write neighbouring channels.
  constexpr int kStride = Tile::kResults + 1;
  S* tile = shared.in;
#pragma unroll
  for (int i = 0; i < Tile::kPerLane; ++i) {
    __syncthreads();
#pragma unroll
    for (int j = 0; j < Tile::kPerWarp; ++j) {
      const int place = shared.result[warp * Tile::kPerWarp + j].id - first_result;
      if (0 <= place && place < Tile::kResults) tile[lane * kStride + place] = sum[i][j];
    }
    __syncthreads();
#pragma unroll 1
    for (int e = thread; e < kLanes * Tile::kResults; e += kThreads) {
      const int p = e / Tile::kResults, r = e % Tile::kResults;
      const int64_t point = first_point + i * kLanes + p, channel = int64_t{first_result} + r;
      if (point < args.points && channel < args.results())
        args.out.data[point * args.out.pixel_stride + channel] = narrow<T>(tile[p * kStride + r]);
    }
  }
}

template <typename T, TileSize kSize, bool kRows, bool kGrad>
__global__ void __launch_bounds__(kThreads, 2) band_fma_kernel(const BandArgs<T> given) {
  BandArgs<T> args = given;
  args.rows = kRows, args.grad = kGrad;  // known to the compiler, which drops the other cases
  using S = Accumulate<T>;
  using Tile = FmaTile<sizeof(S), kSize>;
  const FmaShared<S, Tile> shared(shared_memory());
  const int thread = threadIdx.x;
  const int chunks = static_cast<int>(ceil_div(args.terms(), Tile::kChunk));
  for (int64_t tile = blockIdx.x; tile < args.tiles; tile += gridDim.x) {
    const int64_t first_point = tile / args.result_tiles * Tile::kPoints;
    const int first_result = static_cast<int>(tile % args.result_tiles) * Tile::kResults;
    __syncthreads();  // the tile before has been stored
    if (thread < Tile::kMapped / 32) shared.needed[thread] = 0;
    if (!kRows && thread < Tile::kPoints) shared.plane[thread] = point_offset(args.in, first_point + thread);
    if (thread < Tile::kResults) shared.result[thread] = result_name(args, int64_t{first_result} + thread);
    __syncthreads();
    mark_chunks<Tile>(args, shared, first_result);
    __syncthreads();

    // The chunk in work, the two being copied, and the one whose terms are being looked up.
    int chunk = shared.next_chunk(0, chunks), second = shared.next_chunk(chunk + 1, chunks);
    int third = shared.next_chunk(second + 1, chunks);
    if (thread < 3 * Tile::kChunk) {
      const int of = thread < Tile::kChunk ? chunk : thread < 2 * Tile::kChunk ? second : third;
      shared.term[thread] = term_name(args, int64_t{of} * Tile::kChunk + thread % Tile::kChunk);
    }
    __syncthreads();
    if (chunk < chunks) copy_chunk<Tile>(args, shared, 0, 0, first_point);
    copy_commit();
    if (second < chunks) copy_chunk<Tile>(args, shared, 1, 1, first_point);
    copy_commit();

    S sum[Tile::kPerLane][Tile::kPerWarp] = {};
    int stage = 0, slot = 0;
    while (chunk < chunks) {
      copy_wait<Tile::kStages - 2>();
      __syncthreads();
      const int free_stage = (stage + 2) % Tile::kStages, free_slot = (slot + 3) % Tile::kSlots;
      if (third < chunks) copy_chunk<Tile>(args, shared, free_stage, (slot + 2) % Tile::kSlots, first_point);
      copy_commit();
      const int fourth = shared.next_chunk(third + 1, chunks);
      Name name{-1, 0};
      if (thread < Tile::kChunk) name = term_name(args, int64_t{fourth} * Tile::kChunk + thread);
      add_chunk<Tile>(args, shared, stage, slot, sum);
      if (thread < Tile::kChunk) shared.term[free_slot * Tile::kChunk + thread] = name;
      chunk = second, second = third, third = fourth;
      stage = (stage + 1) % Tile::kStages, slot = (slot + 1) % Tile::kSlots;
    }
    copy_wait<0>();
    store_tile<Tile>(args, shared, sum, first_point, first_result);
  }
}

}  // namespace multipath_gcn::gpu
