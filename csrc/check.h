// What must hold so that no kernel touches memory it should not, on any device, and the view a kernel gets of a tensor.
// Meaning (divisibility, overlap, ...) is checked in Python; these run even if an operator is called by its bare name.
#pragma once
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <optional>
#include <string>
#include <vector>

#include "kernels/view.h"

namespace multipath_gcn {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline std::string shape_text(const Tensor& t) {
  std::string text = "[";
  for (int64_t d = 0; d < t.dim(); ++d) text += (d ? ", " : "") + std::to_string(t.size(d));
  return text + "]";
}

inline void check_channel_dim(const char* name, const Tensor& t, int64_t channel_dim) {
  STD_TORCH_CHECK(channel_dim == -1 || channel_dim == 1, "channel_dim must be -1 (rows) or 1 (images), got ", channel_dim);
  if (channel_dim == 1) {
    STD_TORCH_CHECK(t.dim() == 4, name, " must have shape [N, C, H, W], got ", shape_text(t));
  } else {
    STD_TORCH_CHECK(t.dim() >= 1, name, " must have shape [*, C], got ", shape_text(t));
  }
}

// Memory for a result like x with other sizes.
inline void check_out(const Tensor& out, const Tensor& x, const std::vector<int64_t>& sizes) {
  bool same = out.dim() == static_cast<int64_t>(sizes.size()) && out.is_contiguous();
  std::string wanted;
  for (size_t d = 0; d < sizes.size(); ++d) {
    same = same && out.size(d) == sizes[d];
    wanted += (d ? ", " : "") + std::to_string(sizes[d]);
  }
  STD_TORCH_CHECK(same, "out must be contiguous of shape [", wanted, "], got ", shape_text(out));
  STD_TORCH_CHECK(out.scalar_type() == x.scalar_type() && out.is_cuda() == x.is_cuda() && out.get_device() == x.get_device(),
                  "out must have the dtype and device of the input, got ScalarType ", static_cast<int>(out.scalar_type()));
}

inline int64_t channels(const Tensor& t, int64_t channel_dim) { return t.size(channel_dim == 1 ? 1 : t.dim() - 1); }

inline void check_like(const char* name, const Tensor& t, const Tensor& x) {
  STD_TORCH_CHECK(t.scalar_type() == x.scalar_type(), name, " must have the dtype of the input, got ScalarType ",
                  static_cast<int>(t.scalar_type()), " and ", static_cast<int>(x.scalar_type()));
  STD_TORCH_CHECK(t.is_cuda() == x.is_cuda() && t.get_device() == x.get_device(), name,
                  " must be on the device of the input, got device index ", t.get_device(), " and ", x.get_device());
}

// start and order: int32 [O], contiguous, with 1 <= K <= C. Their values are safe by arithmetic: kernels reduce a start
// mod C, and check or clamp an order.
inline void check_windows(const Tensor& start, const Tensor& order, const Tensor& x, int64_t in_channels,
                          int64_t out_channels, int64_t width) {
  for (const Tensor* t : {&start, &order}) {
    const char* name = t == &start ? "start" : "order";
    STD_TORCH_CHECK(t->scalar_type() == ScalarType::Int && t->dim() == 1 && t->size(0) == out_channels && t->is_contiguous(),
                    name, " must be contiguous int32 of shape [", out_channels, "], got ", shape_text(*t));
    STD_TORCH_CHECK(t->is_cuda() == x.is_cuda() && t->get_device() == x.get_device(), name,
                    " must be on the device of the input, got device index ", t->get_device());
  }
  STD_TORCH_CHECK(out_channels >= 1, "the number of filters must be at least 1, got ", out_channels);
  STD_TORCH_CHECK(1 <= width && width <= in_channels, "the window width must lie in [1, ", in_channels, "], got ", width);
  STD_TORCH_CHECK(in_channels < (int64_t{1} << 31) && out_channels < (int64_t{1} << 31),
                  "the numbers of channels must be below 2^31, got ", in_channels, " and ", out_channels);
}

// Whether kernels can read t in place, and how. Anything else is copied by the caller first.
template <typename T>
bool view_of(const Tensor& t, int64_t channel_dim, View<T>& view) {
  view.data = static_cast<T*>(const_cast<void*>(t.const_data_ptr()));
  view.channels = channels(t, channel_dim);
  if (channel_dim == 1) {
    const int64_t height = t.size(2), width = t.size(3);
    view.batch = t.size(0);
    view.pixels = height * width;
    view.batch_stride = t.stride(0);
    view.channel_stride = t.stride(1);
    view.pixel_stride = width > 1 ? t.stride(3) : height > 1 ? t.stride(2) : view.channels;
    if (height > 1 && width > 1 && t.stride(2) != width * t.stride(3)) return false;
  } else if (t.dim() == 2) {
    view.batch = 1;
    view.pixels = t.size(0);
    view.batch_stride = 0;
    view.channel_stride = t.stride(1);
    view.pixel_stride = t.stride(0);
  } else {
    if (!t.is_contiguous()) return false;
    view.batch = 1;
    view.pixels = view.channels == 0 ? 0 : t.numel() / view.channels;
    view.batch_stride = 0;
    view.channel_stride = 1;
    view.pixel_stride = view.channels;
  }
  if (view.channels == 1) view.channel_stride = 1;
  if (view.pixels == 1 && view.channel_stride != 1) view.pixel_stride = 1;
  const bool rows = view.channel_stride == 1 && (view.pixel_stride >= view.channels || view.pixels <= 1);
  const bool planes = view.pixel_stride == 1 && (view.channel_stride >= view.pixels || view.channels <= 1);
  return rows || planes;
}

// The layout of an output like t: channels-last exactly where t has it and is not contiguous as it stands.
inline bool channels_last(const Tensor& t) {
  if (t.dim() != 4 || t.is_contiguous()) return false;
  const int64_t c = t.size(1), h = t.size(2), w = t.size(3);
  const int64_t expected[4] = {h * w * c, 1, w * c, c};
  for (int d = 0; d < 4; ++d)
    if (t.size(d) != 1 && t.stride(d) != expected[d]) return false;
  return true;
}

// An uninitialised tensor of x's shape, dtype, device and layout with another number of channels.
inline Tensor empty_like_with_channels(const Tensor& x, int64_t new_channels, int64_t channel_dim) {
  std::vector<int64_t> sizes;
  for (int64_t d = 0; d < x.dim(); ++d) sizes.push_back(x.size(d));
  sizes[channel_dim == 1 ? 1 : sizes.size() - 1] = new_channels;
  const auto format = channel_dim == 1 && channels_last(x) ? torch::headeronly::MemoryFormat::ChannelsLast
                                                           : torch::headeronly::MemoryFormat::Contiguous;
  return torch::stable::empty(sizes, x.scalar_type(), std::nullopt, x.device(), std::nullopt, format);
}

}  // namespace multipath_gcn
