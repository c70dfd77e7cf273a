// NumPy arrays of the kernels' types, as they lie in memory; bfloat16 is its bits.
#pragma once
#include <pybind11/numpy.h>

#include <optional>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "../kernels/scalar.h"

namespace multipath_gcn {

namespace py = pybind11;

template <typename T>
using Element = std::conditional_t<std::is_same_v<T, BFloat16>, uint16_t, T>;
template <typename T>
using Array = py::array_t<Element<T>, 0>;

inline void require(bool holds, const char* rule) {
  if (!holds) throw std::invalid_argument(rule);
}

// Whether its elements are where a T may be.
template <typename T>
bool whole_elements(const Array<T>& a) {
  bool whole = reinterpret_cast<uintptr_t>(a.data()) % alignof(T) == 0;
  for (py::ssize_t d = 0; d < a.ndim(); ++d) whole = whole && a.strides(d) % a.itemsize() == 0;
  return whole;
}

// One value per filter, of the type that sums are kept in; none where nothing is given.
template <typename T>
std::vector<Accumulator<T>> widened(const std::optional<Array<T>>& given, int64_t filters) {
  if (!given) return {};
  require(given->ndim() == 1 && given->size() == filters, "bias must have one entry per filter");
  const Array<T> bias = whole_elements<T>(*given) ? *given : Array<T>(given->attr("copy")());
  std::vector<Accumulator<T>> wide;
  for (int64_t o = 0; o < filters; ++o) wide.push_back(widen(*reinterpret_cast<const T*>(bias.data(o))));
  return wide;
}

}  // namespace multipath_gcn
