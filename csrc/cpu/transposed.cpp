// CPU kernel of transposed: checks, dtype, threads. The arithmetic is in kernels/.
#include <torch/csrc/stable/library.h>

#include "activation.h"

namespace multipath_gcn {
namespace {

Tensor transposed(const Tensor& x_) {
  check_features("x", x_);
  const Tensor x = rows_of(x_);
  Tensor y = torch::stable::new_empty(x, {x.size(1), x.size(0)});
  dispatch(x.scalar_type(), "transposed", [&](auto element) {
    using T = decltype(element);
    const ActivateKernels<T>& kernels = activate_kernels<T>();
    const TransposeJob<T> job{static_cast<const T*>(x.const_data_ptr()), row_stride(x), x.size(0), x.size(1),
                              static_cast<T*>(y.mutable_data_ptr())};
    constexpr int64_t kGrain = 1 << 15;  // values worth waking a thread for
    const int64_t blocks = (job.columns + kernels.lanes - 1) / kernels.lanes;
    torch::stable::parallel_for(0, blocks, 1 + kGrain / (1 + job.rows * kernels.lanes),
                                [&](int64_t begin, int64_t end) { kernels.transposed(job, begin, end); });
  });
  return y;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) {
  m.impl("transposed", TORCH_BOX(&transposed));
}

}  // namespace
}  // namespace multipath_gcn
