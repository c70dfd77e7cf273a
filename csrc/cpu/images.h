// Tensors as the images that kernels of convolution read and write.
#pragma once
#include "../check_conv.h"
#include "../kernels/grouped_conv2d.h"
#include "huge_pages.h"

namespace multipath_gcn {

template <typename T>
Images<T> images_of(const Tensor& t) {
  return {static_cast<T*>(const_cast<void*>(t.const_data_ptr())),
          t.size(0), t.size(1), t.size(2), t.size(3), t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
}

inline Tensor empty_images(const Tensor& like, const std::vector<int64_t>& sizes) {
  const auto format = channels_last(like) ? torch::headeronly::MemoryFormat::ChannelsLast
                                          : torch::headeronly::MemoryFormat::Contiguous;
  return on_huge_pages(torch::stable::empty(sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt, format));
}

// Images that lie as y does.
inline Tensor like_output(const Tensor& residual, const Tensor& y) {
  check_like("residual", residual, y);
  STD_TORCH_CHECK(sizes_of(residual) == sizes_of(y), "residual must have shape ", shape_text(y), ", got ", shape_text(residual));
  bool alike = true;
  for (int64_t d = 0; d < 4; ++d) alike = alike && (y.size(d) <= 1 || residual.stride(d) == y.stride(d));
  if (alike) return residual;
  Tensor copy = torch::stable::empty_like(y);
  return torch::stable::copy_(copy, residual);
}

}  // namespace multipath_gcn
