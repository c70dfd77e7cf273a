// What the operators of grouped convolution call: from arguments to kernels. Defined in run_conv.cuh, compiled for every type
// in conv_*.cu. No result is empty.
#pragma once
#include "conv.cuh"
#include "conv_weight_grad.cuh"
#include "launch.cuh"

namespace multipath_gcn::gpu {

// Sets tiles and whole.
template <typename T>
void run_conv(Launcher& launcher, ConvArgs<T> args, bool channels_last);

// Sets tiles and parts.
template <typename T>
void run_conv_weight_grad(Launcher& launcher, ConvGradArgs<T> args, int64_t batch, bool channels_last, T* dweight);

}  // namespace multipath_gcn::gpu
