// Element types as they lie in memory, and the type that sums are kept in.
#pragma once
#include <cstdint>
#include <cstring>

namespace multipath_gcn {

struct BFloat16 {
  uint16_t bits;
};

struct Pair {  // two neighbouring bfloat16, the first one in the low half
  uint32_t bits;
};

template <typename T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<BFloat16> {
  using type = float;
};
inline float widen(float v) { return v; }
inline double widen(double v) { return v; }
inline float widen(BFloat16 v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

template <typename T, typename A>
inline T narrow(A v) {
  return static_cast<T>(v);
}
template <>
inline BFloat16 narrow<BFloat16, float>(float v) {  // to nearest, ties to even; NaN stays NaN
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  if (v != v) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <>
struct AccumulatorOf<Pair> {
  using type = float;
};
template <typename T>
using Accumulator = typename AccumulatorOf<T>::type;

}  // namespace multipath_gcn
