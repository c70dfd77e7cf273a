// dweight[e] = row_scale[i] col_scale[j] sum_f grad[i, f] x[j, f] for the entry e of row i in column j = col[e].
//
// A tile is kThreads entries, whatever rows they are of: first every thread finds the row of one of them, then `lanes`
// threads, neighbours in a warp, take an entry, and add their sums by halves. Groups of lanes take neighbouring
// entries, which mostly share a row of grad.
#pragma once
#include "csr.cuh"
#include "lanes.cuh"

namespace multipath_gcn::gpu {

template <typename T, typename Index>
struct EntryGradArgs {
  using S = Accumulate<T>;
  Csr<Index, S> matrix;
  const T *grad, *x;  // [rows, F], [columns, F]
  int64_t grad_stride, x_stride, features;
  int lanes;  // a power of two
  S* dweight;
};

template <int kWord, typename T, typename Index>
__global__ void __launch_bounds__(kThreads) entry_grad_kernel(const EntryGradArgs<T, Index> args) {
  using S = Accumulate<T>;
  constexpr int kBatch = 4;
  const auto& matrix = args.matrix;
  int64_t* rows = reinterpret_cast<int64_t*>(shared_memory());
  const int lane = threadIdx.x % args.lanes, group = threadIdx.x / args.lanes, groups = kThreads / args.lanes;
  for (int64_t tile = blockIdx.x; tile * kThreads < matrix.entries; tile += gridDim.x) {
    const int64_t first = tile * kThreads, own = first + threadIdx.x;
    __syncthreads();  // the tile before has been read
    rows[threadIdx.x] = own < matrix.entries ? matrix.row_of(own) : -1;
    __syncthreads();
    for (int begin = 0; begin < kThreads; begin += kBatch * groups) {
      const T *grad[kBatch], *x[kBatch];
      S scale[kBatch], sum[kBatch] = {};
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const int n = begin + b * groups + group;
        const int64_t e = first + n, row = n < kThreads ? rows[n] : -1;
        const int64_t column = row >= 0 && e < matrix.end(row) && e >= matrix.begin(row) ? matrix.column(e) : -1;
        grad[b] = nullptr;
        if (column < 0) continue;
        grad[b] = args.grad + row * args.grad_stride;
        x[b] = args.x + column * args.x_stride;
        scale[b] = matrix.scale_of(row) * (matrix.col_scale ? matrix.col_scale[column] : S(1));
      }
      for (int64_t f = int64_t{lane} * kWord; f < args.features; f += int64_t{args.lanes} * kWord) {
        Vector<T, kWord> g[kBatch], v[kBatch];
#pragma unroll
        for (int b = 0; b < kBatch; ++b)
          if (grad[b]) g[b] = load<kWord>(grad[b] + f), v[b] = load<kWord>(x[b] + f);
#pragma unroll
        for (int b = 0; b < kBatch; ++b)
          if (grad[b])
            for (int k = 0; k < kWord; ++k) sum[b] += widen(g[b].value[k]) * widen(v[b].value[k]);
      }
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        for (int half = args.lanes / 2; half > 0; half /= 2) sum[b] += __shfl_xor_sync(0xffffffffu, sum[b], half);
        const int n = begin + b * groups + group;
        if (lane == 0 && n < kThreads && first + n < matrix.entries)
          args.dweight[first + n] = grad[b] ? scale[b] * sum[b] : S(0);
      }
    }
  }
}

}  // namespace multipath_gcn::gpu
