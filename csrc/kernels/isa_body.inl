// Everything that is compiled once per instruction set.
#include "simd.inl"
#include "tiles.inl"
#include "pack_weight.inl"
#include "weight_source.inl"
#include "channel_transform.inl"
#include "weight_grad_pairs.inl"
#include "weight_grad_outer.inl"
#include "few_points.inl"

template <typename T>
constexpr auto pairs_packer() -> decltype(Kernels<T>::pack_pairs) {
#if HAS_PAIR_DOT
  if constexpr (std::is_same_v<T, BFloat16>) return pack_pairs;
#endif
  return nullptr;
}

template <typename T>
const Kernels<T>& table() {
  using A = Accumulator<T>;
  static const Kernels<T> kernels{
      TILE_OUTPUTS,
      TILE_VECTORS,
      kLanes<A>,
      pack_weight<T>,
      pairs_packer<T>(),
      transform<T>,
      {kFilters<A>, 1024, kPointsPerVector<T>, pairs_size<T>, pairs<T>, finish_pairs<T>},
      {TILE_OUTPUTS, kOuterPoints, kPointsPerVector<T>, outer_size<T>, outer<T>, finish_outer<T>},
      few_forward<T>,
      few_input_grad<T>,
      few_weight_grad<T>,
  };
  return kernels;
}

#if !HAS_PAIR_DOT  // those of AVX-512 serve
template const Kernels<float>& table<float>();
template const Kernels<double>& table<double>();
#endif
template const Kernels<BFloat16>& table<BFloat16>();
