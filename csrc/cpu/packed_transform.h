// The packed weight of a channel transform, as channel_transform_pack makes it and all that take it read it.
#pragma once
#include "../check.h"
#include "../kernels/channel_plan.h"

namespace multipath_gcn {

template <typename T>
struct PackedTransform {
  const void* tiles;  // by the plan
  const T* taps;      // [O, K], for few points
};

template <typename T>
PackedTransform<T> packed_transform(const Tensor& packed, const TransformPlan<T>& plan, int64_t out_channels, int64_t width) {
  const int64_t bytes = plan.bytes() + out_channels * width * static_cast<int64_t>(sizeof(T));
  STD_TORCH_CHECK(packed.scalar_type() == ScalarType::Byte && packed.dim() == 1 && packed.is_contiguous() &&
                      packed.is_cpu() && packed.numel() == bytes,
                  "packed must be the result of channel_transform_pack for these windows and this dtype (", bytes,
                  " bytes), got ", shape_text(packed));
  const char* const memory = static_cast<const char*>(packed.const_data_ptr());
  return {memory, reinterpret_cast<const T*>(memory + plan.bytes())};
}

}  // namespace multipath_gcn
