// A sparse matrix in CSR on the device: A[i, j] = row_scale[i] weight[e] col_scale[j] for the entry e of row i in
// column j = col[e]; what is null counts as 1.
//
// Whatever rowptr and col hold, entries are among [0, entries) and columns that are followed among [0, columns).
#pragma once
#include "launch_shape.h"

namespace multipath_gcn::gpu {

template <typename Index, typename S>
struct Csr {
  const Index *rowptr, *col;  // [rows + 1], [entries]
  const S *weight, *row_scale, *col_scale;
  int64_t rows, columns, entries;

  __device__ __forceinline__ int64_t begin(int64_t row) const {
    return at_least(at_most(rowptr[row], entries), 0);
  }
  __device__ __forceinline__ int64_t end(int64_t row) const { return begin(row + 1); }

  // The last row that begins at an entry or before it, in [0, rows).
  __device__ __forceinline__ int64_t row_of(int64_t entry) const {
    int64_t row = 0, past = rows;
    while (past - row > 1) {
      const int64_t middle = row + (past - row) / 2;
      (rowptr[middle] <= entry ? row : past) = middle;
    }
    return row;
  }

  // The column of an entry, or -1 where there is none.
  __device__ __forceinline__ Index column(int64_t entry) const {
    const Index j = col[entry];
    return 0 <= j && j < columns ? j : -1;
  }

  __device__ __forceinline__ S scale_of(int64_t row) const { return row_scale ? row_scale[row] : S(1); }

  __device__ __forceinline__ S value(int64_t entry, Index column, S scale) const {
    const S value = weight ? weight[entry] * scale : scale;
    return col_scale ? value * col_scale[column] : value;
  }
};

}  // namespace multipath_gcn::gpu
