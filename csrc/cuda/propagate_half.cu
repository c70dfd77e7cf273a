// The kernels over rows of features for __half.
#include "run_propagate.cuh"

MULTIPATH_GCN_ROW_KERNELS(__half)
