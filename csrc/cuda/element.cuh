// Element types: what sums over them are kept in.
#pragma once
#include "ptx.cuh"

namespace multipath_gcn::gpu {

template <typename T>
struct AccumulateIn {
  using type = float;
};
template <>
struct AccumulateIn<double> {
  using type = double;
};
template <typename T>
using Accumulate = typename AccumulateIn<T>::type;

}  // namespace multipath_gcn::gpu
