// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
//
//   (high, low) = product of 64 bits:   c0' = high(c2 M1) ^ c1 ^ k0    c1' = low(c2 M1)
//                                       c2' = high(c0 M0) ^ c3 ^ k1    c3' = low(c0 M0)
//
// ten times, the key (k0, k1) growing by (0x9E3779B9, 0xBB67AE85) in between.
#pragma once
#include "launch_shape.h"

namespace multipath_gcn::gpu {

struct Words {
  uint32_t of[4];
};

MULTIPATH_GCN_BOTH inline Words philox(Words counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  auto& [c0, c1, c2, c3] = counter.of;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

}  // namespace multipath_gcn::gpu
