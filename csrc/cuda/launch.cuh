// One call's launches: on the device of its tensors, on PyTorch's current stream, from PyTorch's memory, each checked. No
// call waits for the device or reads from it, so that calls can be captured in a CUDA graph.
//
// tests/cuda/emulated_torch.h defines the same names for the host.
#pragma once
#include "../check.h"
#include "launch_shape.h"

#ifndef MULTIPATH_GCN_EMULATION
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include <cstdlib>
#include <cstring>
#include <vector>

namespace multipath_gcn::gpu {

// float32 on the tensor cores loses 13 bits of every factor. PyTorch's own switch (torch.backends.cuda.matmul.allow_tf32)
// is out of reach of the stable ABI, so this one is asked for by name.
inline bool tf32_allowed() {
  static const bool allowed = [] {
    const char* value = std::getenv("MULTIPATH_GCN_TF32");
    return value != nullptr && std::strcmp(value, "1") == 0;
  }();
  return allowed;
}

class Launcher {
 public:
  explicit Launcher(const Tensor& on) : device_(on.device()), guard_(on.get_device_index()), tf32(tf32_allowed()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(on.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, on.get_device_index()));
  }

  void* allocate(int64_t bytes) {
    owned_.push_back(torch::stable::empty({bytes}, ScalarType::Byte, std::nullopt, device_));
    return owned_.back().mutable_data_ptr();
  }

  template <typename... Parameters, typename... Arguments>
  void launch(void (*kernel)(Parameters...), int64_t blocks, int shared_bytes, Arguments... arguments) {
    if (shared_bytes > 48 * 1024)
      STD_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
    kernel<<<static_cast<unsigned>(blocks), kThreads, shared_bytes, stream_>>>(arguments...);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  cudaStream_t stream() const { return stream_; }

 private:
  torch::stable::Device device_;
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
  std::vector<Tensor> owned_;

 public:
  int multiprocessors = 0;
  bool tf32;
};

}  // namespace multipath_gcn::gpu
#endif
