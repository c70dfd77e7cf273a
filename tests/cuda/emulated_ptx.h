// What csrc/cuda/ptx.cuh says in assembly, said in C++ on emulated threads: asynchronous copies, matrix loads and matrix
// products, with the rules that a GPU would enforce or leave undefined.
#pragma once
#include "emulation.h"

namespace multipath_gcn::gpu {

inline unsigned char* shared_memory() { return emulation::block.shared; }

template <typename V, typename T>
V& aligned_at(T* address) {
  if (reinterpret_cast<uintptr_t>(address) % alignof(V)) emulation::fail("a misaligned access");
  return *reinterpret_cast<V*>(address);
}

inline int thread_anew() { return static_cast<int>(threadIdx.x); }

template <int kBytes>
void copy_async(void* to, const void* from, bool valid) {
  if (reinterpret_cast<uintptr_t>(to) % kBytes || (valid && reinterpret_cast<uintptr_t>(from) % kBytes))
    emulation::fail("a misaligned copy");
  const emulation::Copy copy{to, from, kBytes, valid};
  auto& groups = emulation::block.fibers[emulation::block.current].groups;
  if (emulation::late_copies) {
    groups.back().push_back(copy);
  } else {
    copy.run();
  }
}

inline void copy_commit() { emulation::block.fibers[emulation::block.current].groups.emplace_back(); }

template <int kPending>
void copy_wait() {
  auto& groups = emulation::block.fibers[emulation::block.current].groups;
  while (groups.size() > kPending + 1) {
    for (const auto& copy : groups.front()) copy.run();
    groups.erase(groups.begin());
  }
}

struct Matrices {
  const void* row;
  uint32_t* words;
};

template <bool kTransposed>
void load_any_matrices(uint32_t (&words)[4], const void* row) {
  if (reinterpret_cast<uintptr_t>(row) % 16) emulation::fail("a misaligned row of a matrix");
  Matrices own{row, words};
  emulation::together(own, [](Matrices** lanes) {
    for (int i = 0; i < 4; ++i) {
      uint16_t matrix[8][8];
      for (int r = 0; r < 8; ++r) std::memcpy(matrix[r], lanes[i * 8 + r]->row, 16);
      for (int l = 0; l < 32; ++l) {
        const int row = l / 4, column = l % 4 * 2;
        const uint32_t low = kTransposed ? matrix[column][row] : matrix[row][column];
        const uint32_t high = kTransposed ? matrix[column + 1][row] : matrix[row][column + 1];
        lanes[l]->words[i] = low | high << 16;
      }
    }
  });
}

inline void load_matrices(uint32_t (&words)[4], const void* row) { load_any_matrices<false>(words, row); }
inline void load_matrices_transposed(uint32_t (&words)[4], const void* row) { load_any_matrices<true>(words, row); }

inline float widen(float value) { return value; }
inline double widen(double value) { return value; }
inline float widen(__nv_bfloat16 value) { return emulation::float_of(uint32_t{value.bits} << 16); }
inline float widen(__half value) { return emulation::half_to_float(value.bits); }

template <typename T, typename S>
T narrow(S value) {
  return static_cast<T>(value);
}

inline uint32_t round_to_tf32(float value) {
  const uint32_t bits = emulation::bits_of(value);
  return std::isfinite(value) ? (bits + 0x1000) & ~0x1fffu : bits;  // to the nearest, halves away from zero
}

struct Product {
  float* sum;
  const uint32_t *a, *b;
};

// Operand element e of a word: 16-bit elements lie in pairs along k.
template <typename T>
float operand(uint32_t word, int e) {
  if constexpr (sizeof(T) == 4) {
    return emulation::float_of(word & ~0x1fffu);  // the unit does not see the rest
  } else {
    T value;
    value.bits = static_cast<uint16_t>(word >> (16 * e));
    return widen(value);
  }
}

template <typename T>
void multiply_add(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Product own{sum, a, b};
  emulation::together(own, [](Product** lanes) {
    constexpr int kPer = 4 / sizeof(T), kDepth = 8 * kPer;
    float left[16][kDepth], right[kDepth][8];
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i)
        for (int e = 0; e < kPer; ++e)
          left[l / 4 + i % 2 * 8][(l % 4 + i / 2 * 4) * kPer + e] = operand<T>(lanes[l]->a[i], e);
      for (int i = 0; i < 2; ++i)
        for (int e = 0; e < kPer; ++e) right[(l % 4 + i * 4) * kPer + e][l / 4] = operand<T>(lanes[l]->b[i], e);
    }
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) {
        double total = lanes[l]->sum[i];
        for (int k = 0; k < kDepth; ++k) total += double{left[l / 4 + i / 2 * 8][k]} * right[k][l % 4 * 2 + i % 2];
        lanes[l]->sum[i] = static_cast<float>(total);
      }
    }
  });
}

}  // namespace multipath_gcn::gpu
