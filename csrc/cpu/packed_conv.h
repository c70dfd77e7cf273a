// The packed weight of a convolution, as grouped_conv2d_pack makes it and all that take it read it.
#pragma once
#include <cstring>

#include "../check_conv.h"
#include "dtype.h"
#include "images.h"

namespace multipath_gcn {

// A packed weight: as it is, contiguous, and where they are possible as vectors over filters read it, both of the type that
// sums are kept in.
template <typename T>
LaneBlocks packed_blocks(const ConvPass& pass) {
  const int64_t lanes = conv_kernels<T>().lanes;
  if (pass.channels == 0 || pass.channels > lanes || pass.filters == 0) return {};
  return lane_blocks(pass, sizeof(Accumulator<T>), lanes);
}

template <typename T>
int64_t packed_numel(const ConvShape& shape) {
  const LaneBlocks blocks = packed_blocks<T>(forward_pass(shape));
  return shape.groups * shape.filters * shape.channels * shape.kernel[0] * shape.kernel[1] + blocks.count * blocks.packed;
}

// What lies before a packed weight: small calls would spend most of their time on handing it over.
struct PackedHeader {
  ScalarType dtype;
  int64_t weight[4], stride[2], padding[4], dilation[2], groups, relu;
};
static_assert(sizeof(PackedHeader) <= 128);
constexpr int64_t kHeaderBytes = 128;

inline PackedHeader packed_header(const Tensor& packed, const Tensor& x) {
  STD_TORCH_CHECK(packed.is_cpu() && packed.scalar_type() == ScalarType::Byte && packed.is_contiguous() &&
                      packed.numel() >= kHeaderBytes,
                  "packed must be the result of grouped_conv2d_pack, got ", shape_text(packed));
  PackedHeader header;
  std::memcpy(&header, packed.const_data_ptr(), sizeof header);
  STD_TORCH_CHECK(x.is_cpu() && x.scalar_type() == header.dtype, "x must be of the type and on the device of the packed weight");
  return header;
}

// Of images x [N, C, H, W].
inline ConvShape packed_shape(const PackedHeader& header, const Tensor& x) {
  const auto listed = [](const int64_t* begin, int64_t count) { return std::vector<int64_t>(begin, begin + count); };
  return conv_shape({x.size(2), x.size(3)}, x.size(1), listed(header.weight, 4), listed(header.stride, 2),
                    listed(header.padding, 4), listed(header.dilation, 2), header.groups);
}

template <typename A>
struct PackedTaps {
  const A *plain, *by_lanes;
};

template <typename T>
PackedTaps<Accumulator<T>> packed_taps(const Tensor& packed, const PackedHeader& header, const ConvShape& shape) {
  using A = Accumulator<T>;
  STD_TORCH_CHECK(packed.numel() == kHeaderBytes + packed_numel<T>(shape) * static_cast<int64_t>(sizeof(A)),
                  "packed must be the result of grouped_conv2d_pack, got ", shape_text(packed));
  const A* const plain = reinterpret_cast<const A*>(static_cast<const char*>(packed.const_data_ptr()) + kHeaderBytes);
  return {plain, plain + header.weight[0] * header.weight[1] * header.weight[2] * header.weight[3]};
}

}  // namespace multipath_gcn
