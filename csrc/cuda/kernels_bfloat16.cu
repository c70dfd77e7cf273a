// The kernels for __nv_bfloat16.
#include "launch.cuh"
#include "run_weight_grad.cuh"

template void multipath_gcn::gpu::run_band(Launcher&, BandArgs<__nv_bfloat16>);
template void multipath_gcn::gpu::run_weight_grad(Launcher&, WeightGradArgs<__nv_bfloat16>, __nv_bfloat16*);
