// Propagation over a sparse matrix in CSR, and what a layer does to its result, on raw pointers and without threads of
// their own: every function does a range of rows, and a result depends on its own row alone.
//
//   A[i, j] = row_scale[i] weight[e] col_scale[j]   for the entry e of row i with col[e] = j; a null pointer counts as 1
//   sum:      y[i, f] = drop(relu(bias[f] + sum_j A[i, j] x[j, f])), of x only what was kept where bits say so: the
//             gradient of an activation comes with the bits of the activation
//   extreme:  y[i, f] = max_j or min_j A[i, j] x[j, f], source[i, f] = that j
//
// Rows of x lie x_stride elements apart, those of every result side by side. An index outside the matrix is never
// followed: the function returns false, and what it wrote is of no use.
#pragma once
#include <cstdint>

#include "scalar.h"

namespace multipath_gcn {

template <typename A, typename I>
struct Csr {
  const I* rowptr;
  const I* col;
  int64_t rows, columns, entries;
  const A* weight;
  const A* row_scale;
  const A* col_scale;
};

// A part of the result: rows [row_begin, row_end), columns [begin, end). begin is a multiple of kColumns.
struct Range {
  int64_t row_begin, row_end, begin, end;
};

constexpr int64_t kColumns = 64;  // features that are shared out at once, and the period of the dropout mask

// drop(relu(v + bias)). Dropout keeps what draws at least threshold of 2^32, times scale; see philox.inl.
template <typename A>
struct Activation {
  const A* bias;  // [features] or null
  bool relu, drops;
  uint64_t seed;
  uint32_t threshold;
  A scale;
  uint8_t* kept;  // [rows, (features + 7) / 8]: bit f % 8 of byte f / 8 says that the value has a slope; or null
};

template <typename T, typename I>
struct SumJob {
  Csr<Accumulator<T>, I> matrix;
  const T* x;
  int64_t x_stride, features;
  T* y;
  bool stream;  // past the caches; needs rows of whole aligned vectors
  Activation<Accumulator<T>> activation;
  const uint8_t* kept;   // of x: see Activation; or null: all of it
  Accumulator<T> scale;  // of every sum
};

template <typename T, typename I>
struct ExtremeJob {
  Csr<Accumulator<T>, I> matrix;  // of the gradient: the transposed one
  const T* x;                     // or the gradient
  int64_t x_stride, features;
  T* y;
  int32_t* source;
  bool largest;
};

template <typename T, typename I>
struct EntryGradJob {
  Csr<Accumulator<T>, I> matrix;  // without weight
  const T* grad;
  const T* x;
  int64_t grad_stride, x_stride, features;
  Accumulator<T>* weight_grad;  // [entries]
};

template <typename T>
struct ActivateJob {
  const T* x;
  int64_t x_stride, features;
  T* y;
  Activation<Accumulator<T>> activation;
};

// dx = scale grad where kept, and its sums over rows, kRowsPerSum at a time.
constexpr int64_t kRowsPerSum = 1024;
template <typename T>
struct ActivateGradJob {
  const T* grad;
  int64_t grad_stride, rows, features;
  const uint8_t* kept;  // or null
  Accumulator<T> scale;
  T* dx;                    // or null: sums only
  Accumulator<T>* partial;  // [(rows + kRowsPerSum - 1) / kRowsPerSum, features]
};

// y[i, f] = scale sum_p x_p[i, f]
template <typename T>
struct CombineJob {
  const T* const* x;
  const int64_t* x_stride;
  int64_t parts, features;
  Accumulator<T> scale;
  T* y;
};

// y[c, r] = x[r, c]
template <typename T>
struct TransposeJob {
  const T* x;
  int64_t x_stride, rows, columns;
  T* y;
};

template <typename T, typename I>
struct PropagateKernels {
  bool (*sum)(const SumJob<T, I>&, const Range&);
  bool (*extreme)(const ExtremeJob<T, I>&, const Range&);
  bool (*extreme_grad)(const ExtremeJob<T, I>&, const Range&);
  bool (*weight_grad)(const EntryGradJob<T, I>&, const Range&);
};
template <typename T>
struct ActivateKernels {
  int lanes;
  void (*activate)(const ActivateJob<T>&, int64_t row_begin, int64_t row_end);
  void (*activate_grad)(const ActivateGradJob<T>&, int64_t sum_begin, int64_t sum_end);
  void (*combine)(const CombineJob<T>&, int64_t row_begin, int64_t row_end);
  void (*transposed)(const TransposeJob<T>&, int64_t block_begin, int64_t block_end);  // blocks of `lanes` columns
};

template <typename T, typename I>
const PropagateKernels<T, I>& propagate_kernels();  // of the chosen instruction set
template <typename T>
const ActivateKernels<T>& activate_kernels();

}  // namespace multipath_gcn
