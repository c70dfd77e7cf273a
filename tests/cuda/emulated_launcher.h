// Runs launches on the emulation, over memory with an unmapped page on either side of every array.
#pragma once
#include "emulated_ptx.h"
//
#include <sys/mman.h>
#include <unistd.h>

#include <tuple>
#include <utility>

#include "cuda/run_weight_grad.cuh"

namespace emulation {

// bytes [0, size) of memory that ends at an unmapped page (but for the rounding to 16) and starts out as 0xff: NaN, or -1.
class Guarded {
 public:
  explicit Guarded(int64_t size, bool fill = true) {
    const int64_t page = sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
    total_ = static_cast<size_t>(body + 2 * page);
    auto* at = static_cast<unsigned char*>(mmap(nullptr, total_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (at == MAP_FAILED || (body && mprotect(at + page, body, PROT_READ | PROT_WRITE))) fail("no memory");
    base_ = at;
    data_ = at + page + body - (size + 15) / 16 * 16;
    if (fill) std::memset(at + page, 0xff, body);
  }
  Guarded(Guarded&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), data_(other.data_), total_(other.total_) {}
  ~Guarded() {
    if (base_) munmap(base_, total_);
  }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  unsigned char *base_, *data_;
  size_t total_;
};

struct Launcher {
  int multiprocessors = 1;
  bool tf32 = false;
  int64_t grid_limit = 1 << 30;        // fewer blocks than tiles make blocks walk
  int64_t last_blocks = INT64_MAX;     // how many to run of a grid beyond 1000, from its end
  std::vector<Guarded> owned;
  std::vector<int64_t> sizes;

  void* allocate(int64_t bytes) {
    owned.emplace_back(bytes);
    sizes.push_back(bytes);
    return owned.back().as<void>();
  }

  template <typename... Parameters, typename... Arguments>
  void launch(void (*kernel)(Parameters...), int64_t blocks, int shared_bytes, Arguments... arguments) {
    if (blocks < 1 || blocks > multipath_gcn::gpu::kMaxBlocks) fail("a grid is empty or too large");
    if (shared_bytes > multipath_gcn::gpu::kMaxSharedBytes) fail("too much shared memory");
    gridDim.x = static_cast<unsigned>(std::min(blocks, grid_limit));
    const std::tuple<Parameters...> parameters(arguments...);
    const int64_t first = gridDim.x > 1000 ? std::max<int64_t>(0, gridDim.x - last_blocks) : 0;
    for (int64_t b = first; b < gridDim.x; ++b) {
      const Guarded shared(shared_bytes);
      blockIdx.x = static_cast<unsigned>(b);
      run_block(multipath_gcn::gpu::kThreads, shared.as<unsigned char>(), [&] { std::apply(kernel, parameters); });
    }
  }
};

}  // namespace emulation
