// Included by g++ (-include) before the files of csrc/cuda: the operators run the emulated kernels on CPU tensors, as
// torch.ops.emulated.* with the schemas of csrc/library.cpp. Read at every call: EMULATED_MULTIPROCESSORS says how
// large a device to be, and with it which tiles are used, EMULATED_BLOCKS how many blocks a grid may have,
// EMULATED_ORDER=reverse runs threads from the last to the first; and MULTIPATH_GCN_TF32.
#pragma once
#include "emulated_launcher.h"
//
#include <torch/csrc/stable/library.h>

#include "check.h"

#undef STABLE_TORCH_LIBRARY
#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY(ns, m) STABLE_TORCH_LIBRARY_FRAGMENT(emulated, m)
#define STABLE_TORCH_LIBRARY_IMPL(ns, k, m) _STABLE_TORCH_LIBRARY_IMPL(emulated, CPU, m, C10_UID)

#define STD_CUDA_CHECK(call) call
#define cudaMemcpyAsync(to, from, bytes, kind, stream) (void(stream), std::memcpy(to, from, bytes))

namespace multipath_gcn::gpu {

struct Launcher : emulation::Launcher {
  explicit Launcher(const Tensor&) {
    const auto number = [](const char* name, int otherwise) {
      const char* value = std::getenv(name);
      return value && *value ? std::atoi(value) : otherwise;
    };
    const char* order = std::getenv("EMULATED_ORDER");
    multiprocessors = number("EMULATED_MULTIPROCESSORS", 1);
    grid_limit = number("EMULATED_BLOCKS", 1 << 30);
    emulation::reverse_order = order && std::strcmp(order, "reverse") == 0;
    tf32 = number("MULTIPATH_GCN_TF32", 0);
  }
  int stream() const { return 0; }
};

}  // namespace multipath_gcn::gpu
