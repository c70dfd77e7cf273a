#include "uneven_conv2d.h"

#include <algorithm>

#include "thread_memory.h"

namespace multipath_gcn {

namespace {

constexpr int64_t kUnevenTapeBytes = 384 << 10;  // beside it the second-level cache holds weights and lines
constexpr int64_t kTasksAThread = 2;             // at least, where there are filters enough

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename A>
A* band_memory(int64_t elements) {
  thread_local ThreadMemory memory;
  return static_cast<A*>(memory.at_least(elements * static_cast<int64_t>(sizeof(A))));
}

// Blocks one after the other in shares of about the same work.
template <typename A>
std::vector<int64_t> shared_out(const std::vector<UnevenFilters<A>>& blocks, int64_t shares) {
  std::vector<int64_t> work{0};
  for (const auto& block : blocks) work.push_back(work.back() + (block.channels + 1) * (block.filters + 1));
  std::vector<int64_t> begin{0};
  for (int64_t s = 1; s < shares; ++s) {
    const auto at = std::lower_bound(work.begin(), work.end(), ceil_div(work.back() * s, shares));
    begin.push_back(std::max(begin.back(), static_cast<int64_t>(at - work.begin())));
  }
  begin.push_back(static_cast<int64_t>(blocks.size()));
  return begin;
}

}  // namespace

template <typename T>
UnevenConv2d<T>::UnevenConv2d(const ConvShape& shape, const std::vector<UnevenGroup>& groups, const A* weight, const A* bias,
                              bool relu, const T* residual, const Images<const T>& x, const Images<T>& y, int64_t threads)
    : pass_(forward_pass(shape)) {
  const int64_t taps = shape.kernel[0] * shape.kernel[1], lanes = conv_kernels<T>().lanes;
  tape_ = tape_of(pass_, weight_strides(shape, false), sizeof(A), lanes, kUnevenTapeBytes, 1);
  for (const UnevenGroup& group : groups) {
    const int64_t parts = ceil_div(group.filters, kConvFilters);
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = group.filters * part / parts, filters = group.filters * (part + 1) / parts - first;
      blocks_.push_back({group.inputs, group.outputs + first, group.channels, filters, weight + first * group.channels * taps});
    }
    weight += group.filters * group.channels * taps;
  }
  const int64_t height = pass_.size[0], bands = ceil_div(height, tape_.rows);
  const int64_t wanted = ceil_div(kTasksAThread * threads, std::max<int64_t>(1, x.batch * bands));
  const int64_t shares = threads == 1 ? 1 : std::clamp<int64_t>(wanted, 1, std::max<size_t>(1, blocks_.size()));
  share_ = shared_out(blocks_, shares);
  job_.conv = {&pass_, x, y, {}, bias, relu, ceil_div(height, bands), bands, &tape_, nullptr, nullptr, residual};
  job_.blocks = blocks_.data(), job_.share = share_.data(), job_.shares = shares;
  memory_ = tape_.size + kConvFilters * uneven_line(tape_, lanes);
  tasks_ = x.batch * bands * shares;
}

template <typename T>
void UnevenConv2d<T>::run(int64_t begin, int64_t end) const {
  conv_kernels<T>().uneven(job_, begin, end, band_memory<A>(memory_));
}

template class UnevenConv2d<float>;
template class UnevenConv2d<double>;
template class UnevenConv2d<BFloat16>;

}  // namespace multipath_gcn
