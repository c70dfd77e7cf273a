// Sums over the edges of an oriented surface, on raw pointers and without threads of their own; a result depends on its own
// vertex alone.
//
//   y[p, k, j, c]  = sum_e wave[e, k] (R_e x[q])[j, c]                   e: entries of row p, q = col[e]
//   y[q, j, c]     = sum_e (R_e^T sum_k wave[e, k] x[p, k])[j, c]        e: entries of row q, p = col[e]; the gradient
//
// Components j: 0 is left as it is; the pair (2m-1, 2m) is turned, (a, b) -> (cos a - sin b, sin a + cos b), by what
// turn[e, m-1] holds. Layout: components and channels of a vertex side by side, channels last. edge[e] says which row of
// turn and wave an entry has, null: its own. An index outside is never followed: the function returns false, and what it
// wrote is of no use.
#pragma once
#include <cstdint>

#include "scalar.h"

namespace multipath_gcn {

template <typename T>
struct GaugeJob {
  const int64_t* rowptr;
  const int64_t* col;
  const int64_t* edge;
  int64_t columns, entries, edges;
  const Accumulator<T>* turn;  // [edges, order, 2]: cos and sin
  const Accumulator<T>* wave;  // [edges, waves]
  int64_t order, waves, channels;
  const T* x;
  T* y;
};

template <typename T>
struct GaugeKernels {
  bool (*sums)(const GaugeJob<T>&, int64_t row_begin, int64_t row_end);
  bool (*sums_grad)(const GaugeJob<T>&, int64_t row_begin, int64_t row_end);
};

template <typename T>
const GaugeKernels<T>& gauge_kernels();  // of the chosen instruction set

}  // namespace multipath_gcn
