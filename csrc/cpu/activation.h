// What activate and propagate_activated have in common: rows as kernels read them, and a kernel's activation.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "../check_matrix.h"
#include "../kernels/propagate.h"
#include "dtype.h"

namespace multipath_gcn {

// t [N, F] itself where every row lies in one piece, else a copy.
inline Tensor rows_of(const Tensor& t) {
  const bool rows = (t.size(1) <= 1 || t.stride(1) == 1) && (t.size(0) <= 1 || t.stride(0) >= t.size(1));
  return rows && t.size(1) != 1 ? t : torch::stable::contiguous(t);
}

// How far apart rows_of lie; a single row has any stride, 0 too.
inline int64_t row_stride(const Tensor& t) { return std::max(t.stride(0), t.size(1)); }

constexpr int64_t kStreamedBytes = 1 << 24;  // results that no cache keeps

template <typename T>
bool streams(const T* y, int64_t rows, int64_t features) {
  const int64_t vector = activate_kernels<T>().lanes * static_cast<int64_t>(sizeof(T));
  const int64_t row = features * static_cast<int64_t>(sizeof(T));
  return rows * row >= kStreamedBytes && row % vector == 0 && reinterpret_cast<uintptr_t>(y) % vector == 0;
}

// Dropout keeps the draws of 2^32 that reach this.
inline uint32_t drop_threshold(double dropout) { return static_cast<uint32_t>(std::floor(dropout * 4294967296.0)); }

template <typename T>
struct ActivationOperands {
  std::vector<Accumulator<T>> bias;
  Activation<Accumulator<T>> activation{};

  ActivationOperands(const ActivationArgs& args, const Tensor& kept) {
    if (args.bias) bias = widened<T>(*args.bias);
    activation.bias = args.bias ? bias.data() : nullptr;
    activation.relu = args.relu;
    activation.drops = args.dropout > 0;
    if (activation.drops) activation.seed = *static_cast<const uint64_t*>(args.seed->const_data_ptr());
    activation.threshold = drop_threshold(args.dropout);
    activation.scale = static_cast<Accumulator<T>>(1 / (1 - args.dropout));
    activation.kept = args.masks() ? static_cast<uint8_t*>(kept.mutable_data_ptr()) : nullptr;
  }
  ActivationOperands(const ActivationOperands&) = delete;  // activation.bias points into bias
};

}  // namespace multipath_gcn
