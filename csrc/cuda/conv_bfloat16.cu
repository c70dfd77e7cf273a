// The kernels of grouped convolution for bfloat16.
#include "run_conv.cuh"

MULTIPATH_GCN_CONV_KERNELS(__nv_bfloat16)
