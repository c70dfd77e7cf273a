// The kernels over rows of features for double.
#include "run_propagate.cuh"

MULTIPATH_GCN_ROW_KERNELS(double)
