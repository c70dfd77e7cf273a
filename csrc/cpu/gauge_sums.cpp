// CPU kernels of gauge_sums and its gradient: checks, dtype, shares of the vertices. The arithmetic is in kernels/.
#include <torch/csrc/stable/library.h>

#include "../check_matrix.h"
#include "../kernels/gauge_sums.h"
#include "dtype.h"
#include "huge_pages.h"
#include "row_shares.h"

namespace multipath_gcn {
namespace {

void check_indices(const char* name, const Tensor& t, const Tensor& x) {
  check_device(name, t, x);
  STD_TORCH_CHECK(t.scalar_type() == ScalarType::Long && t.dim() == 1 && t.is_contiguous(), name,
                  " must be contiguous int64 of one dimension, got ", shape_text(t), " of ScalarType ",
                  static_cast<int>(t.scalar_type()));
}

void check_angles(const char* name, const Tensor& t, const Tensor& x) {
  check_device(name, t, x);
  STD_TORCH_CHECK(t.scalar_type() == sum_type(x.scalar_type()) && t.is_contiguous(), name,
                  " must be contiguous float32, or float64 where the input is, got ScalarType ",
                  static_cast<int>(t.scalar_type()));
}

// Of rows [rowptr], the sums of what lies in the rows col of x; `edge` as in the kernel.
Tensor run(const Tensor& x_, const Tensor& rowptr, const Tensor& col, const std::optional<Tensor>& edge, const Tensor& turn,
           const Tensor& wave, bool back) {
  check_indices("rowptr", rowptr, x_), check_indices("col", col, x_);
  if (edge) check_indices("edge", *edge, x_);
  check_angles("turn", turn, x_), check_angles("wave", wave, x_);
  STD_TORCH_CHECK(rowptr.size(0) >= 1, "rowptr must have shape [rows + 1], got ", shape_text(rowptr));
  STD_TORCH_CHECK(!edge || edge->size(0) == col.size(0), "edge must have shape [", col.size(0), "], got ",
                  edge ? shape_text(*edge) : "");
  STD_TORCH_CHECK(turn.dim() == 3 && turn.size(0) == col.size(0) && turn.size(2) == 2, "turn must have shape [",
                  col.size(0), ", order, 2], got ", shape_text(turn));
  STD_TORCH_CHECK(wave.dim() == 2 && wave.size(0) == col.size(0) && wave.size(1) >= 1, "wave must have shape [",
                  col.size(0), ", waves], got ", shape_text(wave));
  const int64_t rows = rowptr.size(0) - 1, order = turn.size(1), waves = wave.size(1), parts = 2 * order + 1;
  const Tensor x = torch::stable::contiguous(x_);
  const int64_t dims = back ? 4 : 3;
  STD_TORCH_CHECK(x.dim() == dims && x.size(dims - 2) == parts && (!back || x.size(1) == waves), "x must have shape [N, ",
                  back ? std::to_string(waves) + ", " : "", parts, ", C], got ", shape_text(x));
  const int64_t channels = x.size(dims - 1);
  const std::vector<int64_t> sizes =
      back ? std::vector<int64_t>{rows, parts, channels} : std::vector<int64_t>{rows, waves, parts, channels};
  Tensor y = on_huge_pages(torch::stable::new_empty(x, sizes));
  if (y.numel() == 0) return y;
  dispatch(x.scalar_type(), "gauge_sums", [&](auto element) {
    using T = decltype(element);
    using A = Accumulator<T>;
    const auto indices = [](const Tensor& t) { return static_cast<const int64_t*>(t.const_data_ptr()); };
    const GaugeJob<T> job{indices(rowptr), indices(col), edge ? indices(*edge) : nullptr, x.size(0), col.size(0),
                          turn.size(0), static_cast<const A*>(turn.const_data_ptr()),
                          static_cast<const A*>(wave.const_data_ptr()), order, waves, channels,
                          static_cast<const T*>(x.const_data_ptr()), static_cast<T*>(y.mutable_data_ptr())};
    const auto& kernels = gauge_kernels<T>();
    auto shares = row_shares(job.rowptr, rows, job.entries, std::min<int64_t>(waves * parts * channels, kColumns));
    const bool inside = for_each_share(shares, [&](const Range& r) {
      return (back ? kernels.sums_grad : kernels.sums)(job, r.row_begin, r.row_end);
    });
    STD_TORCH_CHECK(inside, "col must lie in [0, ", x.size(0), "), edge and rowptr in [0, ", job.entries,
                    "], got an index outside: has the graph been changed?");
  });
  return y;
}

Tensor gauge_sums(const Tensor& x, const Tensor& turn, const Tensor& wave, const Tensor& rowptr, const Tensor& col,
                  const Tensor&, const Tensor&, const Tensor&) {
  return run(x, rowptr, col, std::nullopt, turn, wave, false);
}

Tensor gauge_sums_grad(const Tensor& grad, const Tensor& turn, const Tensor& wave, const Tensor&, const Tensor&,
                       const Tensor& rowptr_t, const Tensor& col_t, const Tensor& edge_t) {
  return run(grad, rowptr_t, col_t, edge_t, turn, wave, true);
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) {
  m.impl("gauge_sums", TORCH_BOX(&gauge_sums));
  m.impl("gauge_sums_grad", TORCH_BOX(&gauge_sums_grad));
}

}  // namespace
}  // namespace multipath_gcn
