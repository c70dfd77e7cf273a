// From a tensor's dtype to the kernels' element type.
#pragma once
#include <utility>
#include <vector>

#include "../check.h"
#include "../kernels/band.h"
#include "../kernels/scalar.h"

namespace multipath_gcn {

// Calls body with a value of the element type.
template <typename Body>
void dispatch(ScalarType dtype, const char* name, Body&& body) {
  switch (dtype) {
    case ScalarType::Float: return body(float{});
    case ScalarType::Double: return body(double{});
    case ScalarType::BFloat16: return body(BFloat16{});
    default:
      STD_TORCH_CHECK(false, name, " takes float32, float64 and bfloat16 on CPU, got ScalarType ", static_cast<int>(dtype));
  }
}

// The tensor itself or a contiguous copy, and the kernels' view of it.
template <typename T>
Tensor viewed(const Tensor& t, int64_t channel_dim, View<const T>& view) {
  if (view_of(t, channel_dim, view)) return t;
  Tensor copy = torch::stable::contiguous(t);
  view_of(copy, channel_dim, view);
  return copy;
}

inline Windows windows_of(const Tensor& start, const Tensor& order, int64_t in_channels, int64_t width) {
  return {static_cast<const int32_t*>(start.const_data_ptr()), static_cast<const int32_t*>(order.const_data_ptr()),
          in_channels, start.size(0), width};
}

template <typename T>
std::vector<Accumulator<T>> widened(const Tensor& t) {
  std::vector<Accumulator<T>> wide(t.numel());
  const T* data = static_cast<const T*>(t.const_data_ptr());
  for (size_t i = 0; i < wide.size(); ++i) wide[i] = widen(data[i * t.stride(0)]);
  return wide;
}

}  // namespace multipath_gcn
