// Images with any strides, and where in them a thread of a convolution is.
#pragma once
#include "conv_shape.h"
#include "lanes.cuh"

namespace multipath_gcn::gpu {

// Element (n, c, i, j) lies at data[n batch + c channel + i row + j column].
template <typename T>
struct Strided {
  T* data;
  int64_t batch, channel, row, column;
};

struct Split {
  int64_t quotient, remainder;
};

// Numbers at least 0; most fit in 32 bits, where a division takes a fraction of the time.
__device__ __forceinline__ Split split(int64_t a, int64_t b) {
  if ((a | b) >> 32 == 0) {
    const auto x = static_cast<uint32_t>(a), y = static_cast<uint32_t>(b);
    return {x / y, x % y};
  }
  return {a / b, a % b};
}

// Position p of columns x strips x images: `rows` outputs, one above the other.
struct ConvPosition {
  int64_t image;
  int row, column;

  __device__ __forceinline__ ConvPosition(int64_t position, int64_t strips, int64_t columns, int rows) {
    const Split along = split(position, columns), down = split(along.quotient, strips);
    image = down.quotient, row = as_int(down.remainder * rows), column = as_int(along.remainder);
  }
};

// This thread's part of a block.
struct ConvThread {
  int unit, lane;

  __device__ __forceinline__ explicit ConvThread(const ConvBlock& block) {
    const int thread = static_cast<int>(threadIdx.x), width = block.units_first ? block.units : block.lanes;
    unit = block.units_first ? thread % width : thread / width;
    lane = block.units_first ? thread / width : thread % width;
  }
};

// Whether 0 <= at < limit.
__device__ __forceinline__ bool within(int at, int limit) { return static_cast<unsigned>(at) < static_cast<unsigned>(limit); }

// kCount values `apart` from each other down a column that begins at `row`, each a vector of channels; 0 outside of the image.
// Rows that no output wants may be so far down that their numbers wrap: what is read there is not used.
template <int kVector, int kCount, typename A, typename T>
__device__ __forceinline__ void load_column(A (&values)[kCount][kVector], const T* image_column, bool inside, int row, int apart,
                                            int limit, int64_t row_stride) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int at = static_cast<int>(static_cast<unsigned>(row) + static_cast<unsigned>(i) * static_cast<unsigned>(apart));
    if (inside && within(at, limit)) {
      const auto vector = load<kVector>(image_column + at * row_stride);
#pragma unroll
      for (int v = 0; v < kVector; ++v) values[i][v] = widen(vector.value[v]);
    } else {
#pragma unroll
      for (int v = 0; v < kVector; ++v) values[i][v] = 0;
    }
  }
}

}  // namespace multipath_gcn::gpu
