// The kernels for __half.
#include "launch.cuh"
#include "run_weight_grad.cuh"

template void multipath_gcn::gpu::run_band(Launcher&, BandArgs<__half>);
template void multipath_gcn::gpu::run_weight_grad(Launcher&, WeightGradArgs<__half>, __half*);
