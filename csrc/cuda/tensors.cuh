// From tensors to what the kernels take: element types, and views as rows or as planes.
#pragma once
#include "launch.cuh"
#include "run.cuh"

namespace multipath_gcn::gpu {

// Calls body with a value of the element type.
template <typename Body>
void dispatch(ScalarType dtype, const char* name, Body&& body) {
  switch (dtype) {
    case ScalarType::Float: return body(float{});
    case ScalarType::Double: return body(double{});
    case ScalarType::BFloat16: return body(__nv_bfloat16{});
    case ScalarType::Half: return body(__half{});
    default:
      STD_TORCH_CHECK(false, name, " takes float32, float64, bfloat16 and float16 on CUDA, got ScalarType ",
                      static_cast<int>(dtype));
  }
}

// Whether results for x are rows in memory, by the rule that chooses their layout; images of one pixel are rows too.
inline bool rows_wanted(const Tensor& x, int64_t channel_dim) {
  return channel_dim == -1 || channels_last(x) || x.size(2) * x.size(3) == 1;
}

template <typename T>
bool view_as(const Tensor& t, int64_t channel_dim, bool rows, View<T>& view) {
  return view_of(t, channel_dim, view) && (rows ? rows_of(view) : planes_of(view));
}

// The tensor itself or a copy that can be viewed as rows (planes), and the view.
template <typename T>
Tensor viewed(const Tensor& t, int64_t channel_dim, bool rows, View<const T>& view) {
  if (view_as(t, channel_dim, rows, view)) return t;
  const auto format = rows && channel_dim == 1 ? torch::headeronly::MemoryFormat::ChannelsLast
                                               : torch::headeronly::MemoryFormat::Contiguous;
  Tensor copy = torch::stable::contiguous(t, format);
  STD_TORCH_CHECK(view_as(copy, channel_dim, rows, view), "a contiguous tensor must be rows or planes, got ", shape_text(t));
  return copy;
}

inline Windows windows_of(const Tensor& start, const Tensor& order, int64_t in_channels, int64_t width) {
  return {static_cast<const int*>(start.const_data_ptr()), static_cast<const int*>(order.const_data_ptr()),
          static_cast<int>(in_channels), static_cast<int>(start.size(0)), static_cast<int>(width)};
}

}  // namespace multipath_gcn::gpu
