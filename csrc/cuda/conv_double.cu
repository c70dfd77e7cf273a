// The kernels of grouped convolution for double.
#include "run_conv.cuh"

MULTIPATH_GCN_CONV_KERNELS(double)
