// Included by g++ (-include) before the files of csrc/cuda: the operators run the emulated kernels on CPU tensors, as
// torch.ops.emulated.* with the schemas of csrc/library.cpp. EMULATED_MULTIPROCESSORS says how large a device to be, and
// with it which tiles are used; MULTIPATH_GCN_TF32 is read at every call.
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
    const char *count = std::getenv("EMULATED_MULTIPROCESSORS"), *allowed = std::getenv("MULTIPATH_GCN_TF32");
    multiprocessors = count ? std::atoi(count) : 1;
    tf32 = allowed && std::atoi(allowed);
  }
  int stream() const { return 0; }
};

}  // namespace multipath_gcn::gpu
