// The table of the chosen instruction set, and what the kernels of all of them share.
#include "channel_transform.h"

#include <cstdlib>
#include <memory>
#include <new>

#include "isa.h"

namespace multipath_gcn {

namespace baseline {
template <typename T>
const Kernels<T>& table();
}
#if defined(__x86_64__)
namespace avx2 {
template <typename T>
const Kernels<T>& table();
}
namespace avx512 {
template <typename T>
const Kernels<T>& table();
}
namespace avx512_bf16 {
template <typename T>
const Kernels<T>& table();
}
#endif

template <typename T>
const Kernels<T>& kernels() {
#if defined(__x86_64__)
  switch (chosen_isa()) {
    case Isa::avx512_bf16:
      if constexpr (std::is_same_v<T, BFloat16>) return avx512_bf16::table<T>();
      [[fallthrough]];
    case Isa::avx512: return avx512::table<T>();
    case Isa::avx2: return avx2::table<T>();
    case Isa::baseline: break;
  }
#endif
  return baseline::table<T>();
}

template const Kernels<float>& kernels<float>();
template const Kernels<double>& kernels<double>();
template const Kernels<BFloat16>& kernels<BFloat16>();

void* scratch(int64_t bytes) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  thread_local int64_t size = 0;
  if (bytes > size) {
    memory.reset();
    size = 0;
    const size_t rounded = (static_cast<size_t>(bytes) + 4095) / 4096 * 4096;
    memory.reset(std::aligned_alloc(4096, rounded));
    if (!memory) throw std::bad_alloc();
    size = static_cast<int64_t>(rounded);
  }
  return memory.get();
}

}  // namespace multipath_gcn
