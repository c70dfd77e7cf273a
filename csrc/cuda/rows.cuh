// What the operators over rows of features call: from arguments to kernels. Defined in run_propagate.cuh, compiled for
// every type in propagate_*.cu. No size is 0; tensors are as rows_for leaves them.
#pragma once
#include "../check_matrix.h"
#include "activate.cuh"
#include "launch.cuh"
#include "propagate_weight_grad.cuh"
#include "reduction.cuh"
#include "tensors.cuh"

namespace multipath_gcn::gpu {

// Sets tiles, segments and parts.
template <Reduce kReduce, typename T, typename Index>
void run_propagate(Launcher& launcher, PropagateArgs<T, Index> args, int64_t features, const Activation<T>& activation);

// Sets lanes.
template <typename T, typename Index>
void run_entry_grad(Launcher& launcher, EntryGradArgs<T, Index> args);

// Sets tiles.
template <typename T>
void run_activate(Launcher& launcher, ActivateArgs<T> args, int64_t features, const Activation<T>& activation);

// Sets tiles, slabs and parts.
template <typename T>
void run_activate_grad(Launcher& launcher, ActivateGradArgs<T> args, int64_t features, T* dbias);

template <typename T>
T* data(const Tensor& t) {
  return static_cast<T*>(const_cast<void*>(t.const_data_ptr()));
}

template <typename T>
T* data(const std::optional<Tensor>& t) {
  return t ? data<T>(*t) : nullptr;
}

inline std::optional<Tensor> contiguous(const std::optional<Tensor>& t) {
  return t ? std::optional<Tensor>(torch::stable::contiguous(*t)) : std::nullopt;
}

// The tensor [N, F] itself or a copy, so that neighbouring features lie side by side and words of `word` elements, of
// 16 bytes at most, are aligned. Which word it is follows from the sizes, and never from where a tensor lies.
inline Tensor rows_for(const Tensor& t, int word) {
  const int64_t bytes = at_most(word * static_cast<int64_t>(t.element_size()), 16);
  const auto aligned = [&](const Tensor& t) { return reinterpret_cast<uint64_t>(t.const_data_ptr()) % bytes == 0; };
  const bool strided = (t.size(1) <= 1 || t.stride(1) == 1) && (t.size(0) <= 1 || t.stride(0) % word == 0);
  if (strided && aligned(t)) return t;
  const Tensor near = torch::stable::contiguous(t);
  return aligned(near) ? near : torch::stable::clone(near);
}

template <typename T>
Activation<T> activation_of(const ActivationArgs& args, const std::optional<Tensor>& bias, const Tensor& kept) {
  Activation<T> activation{};
  activation.bias = data<const T>(bias);
  activation.relu = args.relu;
  if (args.dropout > 0) {
    activation.seed = data<const int64_t>(args.seed);
    activation.threshold = static_cast<uint32_t>(args.dropout * 4294967296.0);
  }
  activation.scale = static_cast<Accumulate<T>>(1 / (1 - args.dropout));
  activation.kept = args.masks() ? data<uint8_t>(kept) : nullptr;
  return activation;
}

}  // namespace multipath_gcn::gpu
