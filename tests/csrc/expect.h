// What the tests of the kernels share: random numbers, the sizes of a problem, exact comparison.
#pragma once
#include <cmath>
#include <random>
#include <stdexcept>
#include <string>

#include "kernels/scalar.h"

namespace multipath_gcn {

inline std::mt19937 generator(20260101);
inline int64_t random(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(generator); }
template <typename T>
T number(double v) {
  return narrow<T>(static_cast<Accumulator<T>>(v));
}

struct Shape {
  int64_t batch, pixels, in_channels, out_channels, width;
  std::string text;
};

template <typename T>
void expect(T found, double wanted, const Shape& s, const char* what) {
  const double a = widen(found), b = widen(number<T>(wanted));
  if (a == b || (std::isnan(a) && std::isnan(b))) return;
  throw std::runtime_error(std::string(what) + " of " + s.text + ": " + std::to_string(a) + " instead of " +
                           std::to_string(b));
}

void check_propagation(int64_t count);  // throws if a kernel of propagation errs
void check_convolution(int64_t count);  // throws if a kernel of grouped convolution errs
void check_separable(int64_t count);    // throws if the kernel of separable convolution errs
void check_uneven(int64_t count);       // throws if the kernel of uneven convolution errs
void check_gauge(int64_t count);        // throws if a kernel of sums over a surface errs
void check_far_elements();  // throws if a kernel errs beyond 2^31 elements

}  // namespace multipath_gcn
