// The table of the chosen instruction set, and what the kernels of all of them share.
#include "channel_transform.h"

#include "isa.h"
#include "thread_memory.h"

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
  thread_local ThreadMemory memory;
  return memory.at_least(bytes);
}

}  // namespace multipath_gcn
