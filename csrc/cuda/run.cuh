// What the operators call: from arguments to kernels. Defined in run_band.cuh and run_weight_grad.cuh for any launcher (the
// tests bring one of their own), compiled for every type in kernels_*.cu.
#pragma once
#include "weight_grad.cuh"
#include "window.cuh"

namespace multipath_gcn::gpu {

// A launcher has
//   int multiprocessors; bool tf32;
//   void* allocate(int64_t bytes)                                     until the launcher goes
//   void launch(kernel, int64_t blocks, int shared_bytes, args...)    kThreads threads each
template <typename T, typename Launcher>
void run_band(Launcher& launcher, BandArgs<T> args);  // sets points, tiles, result_tiles, terms_ordered, and the windows' order

template <typename T, typename Launcher>
void run_weight_grad(Launcher& launcher, WeightGradArgs<T> args, T* dweight);  // sets all but the views, windows and rows

}  // namespace multipath_gcn::gpu
