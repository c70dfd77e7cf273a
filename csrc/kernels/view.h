// A strided look at rows or images: element (b, c, p) lies at data[b * batch_stride + c * channel_stride + p * pixel_stride].
// Rows [N, C] are one batch of N pixels. One of channel_stride and pixel_stride is 1 (or its dimension has one element).
#pragma once
#include <cstdint>

namespace multipath_gcn {

template <typename T>
struct View {
  T* data;
  int64_t batch, channels, pixels;
  int64_t batch_stride, channel_stride, pixel_stride;

  bool rows() const { return channel_stride == 1 && (pixel_stride != 1 || channels == 1); }
  int64_t points() const { return batch * pixels; }  // what a filter is applied to
};

}  // namespace multipath_gcn
