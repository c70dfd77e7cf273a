// Gradients of which few rows differ from 0, as those of a loss on few nodes: only these rows are computed with. What a
// row of zeros would have met, be it infinite or NaN, does not enter the result.
#pragma once
#include <algorithm>
#include <cstring>
#include <optional>
#include <type_traits>
#include <vector>

#include "dtype.h"

namespace multipath_gcn {

using Rows = std::vector<int64_t>;

constexpr int64_t kManyRows = 256;     // of which few are worth looking for
constexpr int64_t kFewRowsPart = 4;    // few are a quarter at most
constexpr int64_t kRowsAtOnce = 4096;  // between which it is asked whether there are too many already
constexpr int64_t kRowsAThread = 256;  // worth waking a thread for

// Either zero is one: all bits but the sign.
template <typename T>
bool is_zero(const T* row, int64_t n) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  constexpr int64_t kBlock = 64;
  for (int64_t i = 0; i < n; i += kBlock) {
    Bits bits[kBlock] = {}, any = 0;
    std::memcpy(bits, row + i, std::min(kBlock, n - i) * sizeof(T));
    for (const Bits b : bits) any |= static_cast<Bits>(b << 1);
    if (any) return false;
  }
  return true;
}

// The rows of a matrix [points, channels] that are not all zero, ascending, where they are few.
template <typename T>
std::optional<Rows> few_rows(const View<const T>& grad) {
  if (!grad.rows() || grad.batch != 1 || grad.pixels < kManyRows) return std::nullopt;
  const size_t most = grad.pixels / kFewRowsPart;
  Rows rows;
  std::vector<uint8_t> zero(std::min(grad.pixels, kRowsAtOnce));
  for (int64_t first = 0; first < grad.pixels; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, grad.pixels - first);
    torch::stable::parallel_for(0, count, kRowsAThread, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) zero[r] = is_zero(grad.data + (first + r) * grad.pixel_stride, grad.channels);
    });
    for (int64_t r = 0; r < count; ++r)
      if (!zero[r]) rows.push_back(first + r);
    if (rows.size() > most) return std::nullopt;
  }
  return rows;
}

// These rows of x side by side, which is like `like`.
template <typename T>
Tensor gathered(const Tensor& like, const View<const T>& x, const Rows& rows) {
  Tensor few = torch::stable::new_empty(like, {static_cast<int64_t>(rows.size()), x.channels});
  T* const to = static_cast<T*>(few.mutable_data_ptr());
  torch::stable::parallel_for(0, few.size(0), kRowsAThread, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(to + i * x.channels, x.data + rows[i] * x.pixel_stride, x.channels * sizeof(T));
  });
  return few;
}

// The way back, into the contiguous y [points, channels]: its other rows are 0.
template <typename T>
void spread(const Tensor& few, const Rows& rows, const View<T>& y) {
  const T* const from = static_cast<const T*>(few.const_data_ptr());
  const int64_t size = y.channels * static_cast<int64_t>(sizeof(T));
  torch::stable::parallel_for(0, y.pixels, kRowsAThread, [&](int64_t begin, int64_t end) {
    size_t i = std::lower_bound(rows.begin(), rows.end(), begin) - rows.begin();
    for (int64_t r = begin; r < end; ++r) {
      T* const to = y.data + r * y.channels;
      if (i < rows.size() && rows[i] == r) std::memcpy(to, from + i++ * y.channels, size);
      else std::memset(static_cast<void*>(to), 0, size);
    }
  });
}

}  // namespace multipath_gcn
