// Operands of matrix products between shared memory and registers.
//
// A product takes a 16 rows x 32 bytes and b 32 bytes x 8 columns: lane l holds rows l / 4 and l / 4 + 8 of a, column l / 4
// of b, and of sum [16, 8] columns 2 (l % 4) and the next of those rows, as {row, row, row + 8, row + 8}.
#pragma once
#include "ptx.cuh"
#include "launch_shape.h"

namespace multipath_gcn::gpu {

__device__ __forceinline__ uint32_t operand_word(float value) { return round_to_tf32(value); }

// a from element (row, k) at tile[row * stride + k], or at tile[k * stride + row] where transposed.
template <bool kTransposed, typename T>
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const T* tile, int stride) {
  const int lane = threadIdx.x % kLanes;
  if constexpr (sizeof(T) == 2) {
    if constexpr (kTransposed) {
      load_matrices_transposed(a, tile + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
    } else {
      load_matrices(a, tile + lane % 16 * stride + lane / 16 * 8);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i % 2 * 8, k = lane % 4 + i / 2 * 4;
      a[i] = operand_word(tile[kTransposed ? k * stride + row : row * stride + k]);
    }
  }
}

// Two neighbouring b from element (k, column) at tile[column * stride + k], or at tile[k * stride + column] where transposed.
template <bool kTransposed, typename T>
__device__ __forceinline__ void load_b(uint32_t (&b)[2][2], const T* tile, int stride) {
  const int lane = threadIdx.x % kLanes;
  if constexpr (sizeof(T) == 2) {
    uint32_t words[4];
    if constexpr (kTransposed) {
      load_matrices_transposed(words, tile + lane % 16 * stride + lane / 16 * 8);
    } else {
      load_matrices(words, tile + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
    }
    b[0][0] = words[0], b[0][1] = words[1], b[1][0] = words[2], b[1][1] = words[3];
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = lane / 4 + i / 2 * 8, k = lane % 4 + i % 2 * 4;
      b[i / 2][i % 2] = operand_word(tile[kTransposed ? k * stride + column : column * stride + k]);
    }
  }
}

// Infinities and NaNs are the values whose exponent bits are all set.
template <typename T>
struct Exponent;
template <>
struct Exponent<__nv_bfloat16> {
  static constexpr uint32_t mask = 0x7f80;
};
template <>
struct Exponent<__half> {
  static constexpr uint32_t mask = 0x7c00;
};
template <>
struct Exponent<float> {
  static constexpr uint32_t mask = 0x7f800000;
};

// The bits of a word's elements that are not finite.
template <typename T>
__device__ __forceinline__ uint32_t not_finite(uint32_t word) {
  constexpr uint32_t low = Exponent<T>::mask;
  if constexpr (sizeof(T) == 2) {
    constexpr uint32_t high = low << 16;
    return ((word & low) == low ? 0xffffu : 0u) | ((word & high) == high ? 0xffff0000u : 0u);
  } else {
    return (word & low) == low ? 0xffffffffu : 0u;
  }
}

template <typename T>
__device__ __forceinline__ bool is_not_finite(T value) {
  if constexpr (sizeof(T) == 2) {
    uint16_t word;
    memcpy(&word, &value, sizeof(word));
    return (word & Exponent<T>::mask) == Exponent<T>::mask;
  } else {
    return not_finite<T>(operand_word(value)) != 0;  // as the product sees it: the largest floats round to infinity
  }
}

}  // namespace multipath_gcn::gpu
