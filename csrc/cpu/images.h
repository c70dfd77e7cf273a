// Tensors as the images that kernels of convolution read and write.
#pragma once
#include "../check.h"
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

}  // namespace multipath_gcn
