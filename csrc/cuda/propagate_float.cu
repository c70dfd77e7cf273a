// The kernels over rows of features for float.
#include "run_propagate.cuh"

MULTIPATH_GCN_ROW_KERNELS(float)
