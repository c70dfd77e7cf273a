// The kernels of grouped convolution for half.
#include "run_conv.cuh"

MULTIPATH_GCN_CONV_KERNELS(__half)
