// CUDA's words for the host, so that the kernels of csrc/cuda run unchanged on a CPU: every thread of a block is a fiber,
// which runs until it waits at a barrier or for the other lanes of its warp. One block runs at a time.
//
// What a GPU leaves open is a choice here, and tests run every choice: the order in which threads run (a missing barrier
// gives another result in one of them), and whether an asynchronous copy is done at once or as late as it may be. Threads
// that wait for each other for ever, lanes that meet in different instructions and misaligned copies abort with a sentence.
#pragma once
#define MULTIPATH_GCN_EMULATION
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using std::max;
using std::min;

struct Index {
  unsigned x = 0, y = 0, z = 0;
};
struct uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

inline Index threadIdx, blockIdx, gridDim;

namespace emulation {

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "emulated kernel: %s (block %u, thread %u)\n", what, blockIdx.x, threadIdx.x);
  std::abort();
}

struct Barrier {
  int arrived = 0;
  uint64_t passed = 0;
};

struct Copy {
  void* to;
  const void* from;
  int bytes;
  bool valid;

  void run() const {
    if (valid) {
      std::memcpy(to, from, bytes);
    } else {
      std::memset(to, 0, bytes);
    }
  }
};

struct Fiber {
  ucontext_t start;
  jmp_buf at;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool begun = false, done = false;
  const Barrier* waits = nullptr;
  uint64_t until = 0;
  std::vector<std::vector<Copy>> groups;  // committed copies, then the open group
  static constexpr size_t kStack = 64 << 10;
};

struct Warp {
  Barrier barrier;
  int alive = 0;
  void* lane[32] = {};
  const void* instruction = nullptr;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Barrier barrier;
  int alive = 0, any = 0, any_before = 0;
  int current = 0;
  jmp_buf scheduler;
  std::function<void()> body;
  unsigned char* shared = nullptr;
};

inline Block block;
inline bool late_copies = false, reverse_order = false;  // the choices

inline void yield() {
  if (_setjmp(block.fibers[block.current].at) == 0) _longjmp(block.scheduler, 1);
}

inline void pass(Barrier& barrier) {
  barrier.arrived = 0;
  ++barrier.passed;
}

inline void wait(Barrier& barrier) {
  Fiber& fiber = block.fibers[block.current];
  fiber.waits = &barrier;
  fiber.until = barrier.passed;
  yield();
}

inline void run_fiber() {
  block.body();
  Fiber& fiber = block.fibers[block.current];
  for (const auto& group : fiber.groups)
    if (!group.empty()) fail("a thread ended with copies under way");
  fiber.done = true;
  Warp& warp = block.warps[block.current / 32];
  if (--block.alive == block.barrier.arrived && block.alive) pass(block.barrier);
  if (--warp.alive == warp.barrier.arrived && warp.alive) fail("a lane ended while others wait for it");
  _longjmp(block.scheduler, 1);
}

inline void resume(int thread) {
  Fiber& fiber = block.fibers[thread];
  block.current = thread;
  threadIdx.x = static_cast<unsigned>(thread);
  if (_setjmp(block.scheduler) != 0) return;
  if (fiber.begun) _longjmp(fiber.at, 1);
  fiber.begun = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = Fiber::kStack;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, run_fiber, 0);
  setcontext(&fiber.start);
}

inline void run_block(int threads, unsigned char* shared, std::function<void()> body) {
  block.fibers.resize(threads);
  block.warps.assign(threads / 32, {});
  for (Fiber& fiber : block.fibers) {
    fiber.begun = fiber.done = false;
    fiber.waits = nullptr;
    fiber.groups.assign(1, {});
  }
  for (Warp& warp : block.warps) warp.alive = 32;
  block.barrier = {};
  block.alive = threads;
  block.any = block.any_before = 0;
  block.body = std::move(body);
  block.shared = shared;
  while (block.alive) {
    bool moved = false;
    for (int i = 0; i < threads; ++i) {
      const int thread = reverse_order ? threads - 1 - i : i;
      Fiber& fiber = block.fibers[thread];
      if (fiber.done || (fiber.waits && fiber.waits->passed == fiber.until)) continue;
      fiber.waits = nullptr;
      moved = true;
      resume(thread);
    }
    if (!moved) fail("threads wait at different barriers for ever");
  }
}

// All lanes of a warp leave something of their own; the last to come works on all of it.
template <typename Own, typename Work>
void together(Own& own, const Work& work) {
  static const char instruction = 0;  // one per use
  Warp& warp = block.warps[block.current / 32];
  if (warp.barrier.arrived == 0) warp.instruction = &instruction;
  if (warp.instruction != &instruction) fail("the lanes of a warp meet in different instructions");
  warp.lane[block.current % 32] = &own;
  if (++warp.barrier.arrived < 32) return wait(warp.barrier);
  Own* lanes[32];
  for (int l = 0; l < 32; ++l) lanes[l] = static_cast<Own*>(warp.lane[l]);
  work(lanes);
  pass(warp.barrier);
}

inline void every_lane(unsigned mask) {
  if (mask != 0xffffffffu) fail("a mask names only some lanes");
}

inline float half_to_float(uint16_t h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  const float sign = h >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024.0f + mantissa, exponent - 25) : std::ldexp(float(mantissa), -24));
}

inline uint16_t float_to_half(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float size = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (size >= 65520.0f) return sign | 0x7c00;
  if (size == 0) return sign;
  int exponent;
  std::frexp(size, &exponent);
  const int unit = std::max(exponent - 11, -24);  // of the last place
  const auto places = static_cast<int>(std::nearbyint(std::ldexp(size, -unit)));
  return sign | static_cast<uint16_t>(unit == -24 ? places : ((unit + 24) << 10) + places);
}

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace emulation

struct __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  explicit __nv_bfloat16(float value) {
    const uint32_t b = emulation::bits_of(value);
    bits = std::isnan(value) ? 0x7fff : static_cast<uint16_t>((b + 0x7fff + (b >> 16 & 1)) >> 16);
  }
};
struct __half {
  uint16_t bits;
  __half() = default;
  explicit __half(float value) : bits(emulation::float_to_half(value)) {}
};

inline void __syncthreads() {
  emulation::Block& block = emulation::block;
  if (++block.barrier.arrived == block.alive) return emulation::pass(block.barrier);
  emulation::wait(block.barrier);
}

inline int __syncthreads_or(int value) {
  emulation::block.any |= value;
  if (++emulation::block.barrier.arrived == emulation::block.alive) {
    emulation::block.any_before = emulation::block.any;
    emulation::block.any = 0;
    emulation::pass(emulation::block.barrier);
  } else {
    emulation::wait(emulation::block.barrier);
  }
  return emulation::block.any_before != 0;
}

inline void __syncwarp() {
  char own;
  emulation::together(own, [](char**) {});
}

inline unsigned __ballot_sync(unsigned mask, bool value) {
  emulation::every_lane(mask);
  unsigned own = value;
  emulation::together(own, [](unsigned** lanes) {
    unsigned all = 0;
    for (int l = 0; l < 32; ++l) all |= *lanes[l] << l;
    for (int l = 0; l < 32; ++l) *lanes[l] = all;
  });
  return own;
}

inline int __any_sync(unsigned mask, bool value) { return __ballot_sync(mask, value) != 0; }

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
  struct Own {
    T value;
    int lane;
    T result;
  } own{value, lane, {}};
  emulation::every_lane(mask);
  emulation::together(own, [](Own** lanes) {
    for (int l = 0; l < 32; ++l) lanes[l]->result = lanes[lanes[l]->lane % 32]->value;
  });
  return own.result;
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  return __shfl_sync(mask, value, static_cast<int>(threadIdx.x % 32) ^ lanes);
}

inline int __ffs(int value) { return __builtin_ffs(value); }

inline unsigned atomicOr(unsigned* at, unsigned value) {
  const unsigned before = *at;
  *at |= value;
  return before;
}
