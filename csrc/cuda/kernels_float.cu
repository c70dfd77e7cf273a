// The kernels for float.
#include "launch.cuh"
#include "run_weight_grad.cuh"

template void multipath_gcn::gpu::run_band(Launcher&, BandArgs<float>);
template void multipath_gcn::gpu::run_weight_grad(Launcher&, WeightGradArgs<float>, float*);
