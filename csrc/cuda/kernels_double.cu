// The kernels for double.
#include "launch.cuh"
#include "run_weight_grad.cuh"

template void multipath_gcn::gpu::run_band(Launcher&, BandArgs<double>);
template void multipath_gcn::gpu::run_weight_grad(Launcher&, WeightGradArgs<double>, double*);
