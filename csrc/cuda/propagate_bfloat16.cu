// The kernels over rows of features for __nv_bfloat16.
#include "run_propagate.cuh"

MULTIPATH_GCN_ROW_KERNELS(__nv_bfloat16)
