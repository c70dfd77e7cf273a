// CPU kernel of uneven_conv2d: checks, dtype, threads. The arithmetic is in kernels/.
#include "../kernels/uneven_conv2d.h"

#include <torch/csrc/stable/library.h>

#include "../check_conv.h"
#include "dtype.h"
#include "images.h"

namespace multipath_gcn {
namespace {

constexpr int64_t kOptions = 12;

struct Groups {
  std::vector<int64_t> kernel, stride, padding, dilation;
  bool relu;
  std::vector<UnevenGroup> groups;
  int64_t filters = 0, weights = 0;  // weights: for one entry of the kernel
};

// Reads a layout, and refuses one that would lead out of x, y or weight.
Groups groups_of(const Tensor& layout, int64_t channels) {
  STD_TORCH_CHECK(layout.is_cpu() && layout.scalar_type() == ScalarType::Long && layout.dim() == 1 && layout.is_contiguous() &&
                      layout.numel() > kOptions,
                  "layout must be a list of int64 on the CPU, got ", shape_text(layout));
  const int64_t* const data = static_cast<const int64_t*>(layout.const_data_ptr());
  const int64_t count = data[kOptions - 1];
  int64_t left = layout.numel() - kOptions;
  STD_TORCH_CHECK(count >= 1 && count <= left / 2, "layout must have filters and channels of every group, got ", count,
                  " groups and ", left, " entries");
  Groups found{{data, data + 2}, {data + 2, data + 4}, {data + 4, data + 8}, {data + 8, data + 10}, data[10] != 0, {}};
  const int64_t* const sizes = data + kOptions;
  const int64_t* next = sizes + 2 * count;
  left -= 2 * count;
  for (int64_t g = 0; g < count; ++g) {
    const int64_t filters = sizes[2 * g], inputs = sizes[2 * g + 1];
    STD_TORCH_CHECK(filters >= 1 && inputs >= 1 && filters <= left && inputs <= left - filters,
                    "layout must have the channels and filters of every group, group ", g, " says ", inputs, " and ", filters);
    for (int64_t i = 0; i < inputs; ++i)
      STD_TORCH_CHECK(next[i] >= 0 && next[i] < channels, "layout must name channels of x, [0, ", channels, "), got ", next[i]);
    found.groups.push_back({next, next + inputs, inputs, filters});
    next += inputs + filters, left -= inputs + filters;
    found.filters += filters, found.weights += filters * inputs;
  }
  STD_TORCH_CHECK(left == 0, "layout must end with its last group, ", left, " entries are left");
  std::vector<bool> taken(found.filters);
  for (const UnevenGroup& group : found.groups)
    for (int64_t k = 0; k < group.filters; ++k) {
      const int64_t at = group.outputs[k];
      STD_TORCH_CHECK(at >= 0 && at < found.filters && !taken[at], "layout must give every output channel of ", found.filters,
                      " once, got ", at);
      taken[at] = true;
    }
  return found;
}

template <typename A>
const A* sums(const char* name, const Tensor& t, int64_t numel) {
  constexpr ScalarType wanted = std::is_same_v<A, double> ? ScalarType::Double : ScalarType::Float;
  STD_TORCH_CHECK(t.is_cpu() && t.scalar_type() == wanted && t.dim() == 1 && t.is_contiguous() && t.numel() == numel, name,
                  " must be contiguous, of the type that sums are kept in, and of shape [", numel, "], got ", shape_text(t));
  return static_cast<const A*>(t.const_data_ptr());
}

Tensor uneven_conv2d(const Tensor& x, const Tensor& weight, const Tensor& layout, const std::optional<Tensor>& bias,
                     const std::optional<Tensor>& residual) {
  check_images("x", x);
  const Groups found = groups_of(layout, x.size(1));
  const std::vector<int64_t> size{found.filters, x.size(1), found.kernel[0], found.kernel[1]};
  const ConvShape shape = conv_shape({x.size(2), x.size(3)}, x.size(1), size, found.stride, found.padding, found.dilation, 1);
  Tensor y = empty_images(x, {x.size(0), found.filters, shape.out[0], shape.out[1]});
  const Tensor added = residual ? like_output(*residual, y) : y;
  dispatch(x.scalar_type(), "uneven_conv2d", [&](auto element) {
    using T = decltype(element);
    using A = Accumulator<T>;
    const A* const taps = sums<A>("weight", weight, found.weights * shape.kernel[0] * shape.kernel[1]);
    const A* const shift = bias ? sums<A>("bias", *bias, found.filters) : nullptr;
    if (y.numel() == 0) return;
    const UnevenConv2d<T> convolution(shape, found.groups, taps, shift, found.relu,
                                      residual ? static_cast<const T*>(added.const_data_ptr()) : nullptr,
                                      images_of<const T>(x), images_of<T>(y), torch::stable::get_num_threads());
    torch::stable::parallel_for(0, convolution.tasks(), 1, [&](int64_t begin, int64_t end) { convolution.run(begin, end); });
  });
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) { m.impl("uneven_conv2d", TORCH_BOX(&uneven_conv2d)); }

}  // namespace
}  // namespace multipath_gcn
