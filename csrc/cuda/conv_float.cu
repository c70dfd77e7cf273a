// The kernels of grouped convolution for float.
#include "run_conv.cuh"

MULTIPATH_GCN_CONV_KERNELS(float)
