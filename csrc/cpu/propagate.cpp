// CPU kernels of propagate and its gradients: checks, dtype, shares of the rows. The arithmetic is in kernels/.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "../check_matrix.h"
#include "../kernels/propagate.h"
#include "activation.h"
#include "dtype.h"
#include "huge_pages.h"
#include "row_shares.h"

namespace multipath_gcn {
namespace {

using OptionalTensor = std::optional<Tensor>;

// The memory of the tensors of a job, which are contiguous here.
struct Operands {
  Tensor rowptr, col;
  OptionalTensor weight, row_scale, col_scale;

  explicit Operands(const MatrixArgs& m) : rowptr(m.rowptr), col(m.col) {
    if (m.weight) weight = torch::stable::contiguous(*m.weight);
    if (m.row_scale) row_scale = torch::stable::contiguous(*m.row_scale);
    if (m.col_scale) col_scale = torch::stable::contiguous(*m.col_scale);
  }

  template <typename A, typename I>
  Csr<A, I> csr(int64_t columns) const {
    const auto data = [](const OptionalTensor& t) { return t ? static_cast<const A*>(t->const_data_ptr()) : nullptr; };
    return {static_cast<const I*>(rowptr.const_data_ptr()), static_cast<const I*>(col.const_data_ptr()),
            rowptr.size(0) - 1, columns, col.size(0), data(weight), data(row_scale), data(col_scale)};
  }
};

// Calls body with a value of the element type and one of the index type.
template <typename Body>
void dispatch_both(const Tensor& x, const MatrixArgs& matrix, const char* name, Body&& body) {
  dispatch(x.scalar_type(), name, [&](auto element) {
    if (matrix.col.scalar_type() == ScalarType::Int) body(element, int32_t{});
    else body(element, int64_t{});
  });
}

template <typename T>
const T* data_of(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

void check_inside(bool inside, int64_t columns, int64_t entries) {
  STD_TORCH_CHECK(inside, "col must lie in [0, ", columns, ") and rowptr ascend in [0, ", entries,
                  "], got an index outside: has the graph been changed?");
}

const ActivationArgs kNone{std::nullopt, false, 0.0, std::nullopt};

// What was kept of x by an activation whose gradient x is.
struct KeptArgs {
  OptionalTensor bits;
  double dropout = 0;
};

// Into out or into new memory.
std::tuple<Tensor, Tensor> sum(const Tensor& x_, const MatrixArgs& matrix, const ActivationArgs& activation,
                               const OptionalTensor& out = std::nullopt, const KeptArgs& of_x = {}) {
  check_features("x", x_);
  check_dropout(of_x.dropout);
  const bool masks = of_x.bits && check_kept(*of_x.bits, x_);
  check_matrix(matrix, x_.size(0), x_);
  check_activation(activation, x_);
  const Tensor x = rows_of(x_);
  const int64_t rows = matrix.rows(), columns = x.size(0), features = x.size(1);
  if (out) check_out(*out, x, {rows, features});
  Tensor y = on_huge_pages(out ? *out : torch::stable::new_empty(x, {rows, features}));
  Tensor kept = empty_kept(x, rows, activation);
  if (y.numel() == 0) return {y, kept};
  const Operands operands(matrix);
  dispatch_both(x, matrix, "propagate", [&](auto element, auto index) {
    using T = decltype(element);
    using I = decltype(index);
    using A = Accumulator<T>;
    const ActivationOperands<T> last(activation, kept);
    SumJob<T, I> job{operands.csr<A, I>(columns), data_of<T>(x), row_stride(x), features,
                     static_cast<T*>(y.mutable_data_ptr()), false, last.activation,
                     masks ? data_of<uint8_t>(*of_x.bits) : nullptr, masks ? static_cast<A>(1 / (1 - of_x.dropout)) : A{1}};
    job.stream = streams<T>(job.y, rows, features);
    const auto shares = row_shares(job.matrix.rowptr, rows, matrix.entries(), features);
    check_inside(for_each_share(shares, [&](const Range& r) { return propagate_kernels<T, I>().sum(job, r); }), columns,
                 matrix.entries());
  });
  return {y, kept};
}

Tensor propagate(const Tensor& x, const Tensor& rowptr, const Tensor& col, const OptionalTensor& weight,
                 const OptionalTensor& row_scale, const OptionalTensor& col_scale, const OptionalTensor&,
                 const OptionalTensor&, const OptionalTensor&) {
  return std::get<0>(sum(x, {rowptr, col, weight, row_scale, col_scale}, kNone));
}

void propagate_out(const Tensor& out, const Tensor& x, const Tensor& rowptr, const Tensor& col, const OptionalTensor& weight,
                   const OptionalTensor& row_scale, const OptionalTensor& col_scale, const OptionalTensor& kept,
                   double dropout) {
  sum(x, {rowptr, col, weight, row_scale, col_scale}, kNone, out, {kept, dropout});
}

std::tuple<Tensor, Tensor> propagate_activated(const Tensor& x, const Tensor& rowptr, const Tensor& col,
                                               const OptionalTensor& weight, const OptionalTensor& row_scale,
                                               const OptionalTensor& col_scale, const OptionalTensor&,
                                               const OptionalTensor&, const OptionalTensor&, const OptionalTensor& bias,
                                               bool relu, double dropout, const OptionalTensor& seed) {
  return sum(x, {rowptr, col, weight, row_scale, col_scale}, {bias, relu, dropout, seed});
}

Tensor propagate_activated_out(const Tensor& out, const Tensor& x, const Tensor& rowptr, const Tensor& col,
                               const OptionalTensor& weight, const OptionalTensor& row_scale, const OptionalTensor& col_scale,
                               const OptionalTensor& bias, bool relu, double dropout, const OptionalTensor& seed) {
  return std::get<1>(sum(x, {rowptr, col, weight, row_scale, col_scale}, {bias, relu, dropout, seed}, out));
}

Tensor propagate_weight_grad(const Tensor& grad_, const Tensor& x_, const Tensor& rowptr, const Tensor& col,
                             const OptionalTensor& row_scale, const OptionalTensor& col_scale) {
  const MatrixArgs matrix{rowptr, col, std::nullopt, row_scale, col_scale};
  check_features("x", x_);
  check_features("grad", grad_);
  check_like("grad", grad_, x_);
  check_matrix(matrix, x_.size(0), x_);
  STD_TORCH_CHECK(grad_.size(0) == matrix.rows() && grad_.size(1) == x_.size(1), "grad must have shape [", matrix.rows(), ", ",
                  x_.size(1), "], got ", shape_text(grad_));
  const Tensor x = rows_of(x_), grad = rows_of(grad_);
  Tensor dweight = torch::stable::empty({matrix.entries()}, sum_type(x.scalar_type()));
  if (dweight.numel() == 0) return dweight;
  const Operands operands(matrix);
  dispatch_both(x, matrix, "propagate_weight_grad", [&](auto element, auto index) {
    using T = decltype(element);
    using I = decltype(index);
    using A = Accumulator<T>;
    const EntryGradJob<T, I> job{operands.csr<A, I>(x.size(0)), data_of<T>(grad),  data_of<T>(x),
                                    row_stride(grad),                row_stride(x),       x.size(1),
                                    static_cast<A*>(dweight.mutable_data_ptr())};
    const auto shares = row_shares(job.matrix.rowptr, matrix.rows(), matrix.entries(), kColumns);  // whole rows
    check_inside(for_each_share(shares, [&](const Range& r) { return propagate_kernels<T, I>().weight_grad(job, r); }),
                 x.size(0), matrix.entries());
  });
  return dweight;
}

template <typename T, typename I>
ExtremeJob<T, I> extreme_job(const Operands& operands, const Tensor& x, const Tensor& y, int32_t* source, bool largest) {
  return {operands.csr<Accumulator<T>, I>(x.size(0)), data_of<T>(x), row_stride(x), x.size(1),
          static_cast<T*>(y.mutable_data_ptr()),       source,        largest};
}

std::tuple<Tensor, Tensor> propagate_extreme(const Tensor& x_, const Tensor& rowptr, const Tensor& col,
                                             const OptionalTensor& weight, const OptionalTensor& row_scale,
                                             const OptionalTensor& col_scale, const OptionalTensor&, const OptionalTensor&,
                                             const OptionalTensor&, bool largest) {
  const MatrixArgs matrix{rowptr, col, weight, row_scale, col_scale};
  check_features("x", x_);
  check_matrix(matrix, x_.size(0), x_);
  check_source_columns(x_.size(0));
  const Tensor x = rows_of(x_);
  const int64_t rows = matrix.rows();
  Tensor y = on_huge_pages(torch::stable::new_empty(x, {rows, x.size(1)}));
  Tensor source = on_huge_pages(torch::stable::empty({rows, x.size(1)}, ScalarType::Int));
  if (y.numel() == 0) return {y, source};
  const Operands operands(matrix);
  dispatch_both(x, matrix, "propagate_extreme", [&](auto element, auto index) {
    using T = decltype(element);
    using I = decltype(index);
    const auto job = extreme_job<T, I>(operands, x, y, static_cast<int32_t*>(source.mutable_data_ptr()), largest);
    const auto shares = row_shares(job.matrix.rowptr, rows, matrix.entries(), job.features);
    check_inside(for_each_share(shares, [&](const Range& r) { return propagate_kernels<T, I>().extreme(job, r); }),
                 x.size(0), matrix.entries());
  });
  return {y, source};
}

// The matrix is the transposed one, from the rows of grad to those of the result.
Tensor propagate_extreme_grad(const Tensor& grad_, const Tensor& source_, const Tensor& rowptr, const Tensor& col,
                              const OptionalTensor& weight, const OptionalTensor& row_scale, const OptionalTensor& col_scale) {
  const MatrixArgs matrix{rowptr, col, weight, row_scale, col_scale};
  check_features("grad", grad_);
  check_matrix(matrix, grad_.size(0), grad_);
  check_source_columns(matrix.rows());
  check_source(source_, grad_);
  const Tensor grad = rows_of(grad_), source = torch::stable::contiguous(source_);
  Tensor dx = on_huge_pages(torch::stable::new_empty(grad, {matrix.rows(), grad.size(1)}));
  if (dx.numel() == 0) return dx;
  const Operands operands(matrix);
  dispatch_both(grad, matrix, "propagate_extreme_grad", [&](auto element, auto index) {
    using T = decltype(element);
    using I = decltype(index);
    int32_t* const from = static_cast<int32_t*>(const_cast<void*>(source.const_data_ptr()));
    const auto job = extreme_job<T, I>(operands, grad, dx, from, true);
    const auto shares = row_shares(job.matrix.rowptr, matrix.rows(), matrix.entries(), job.features);
    check_inside(for_each_share(shares, [&](const Range& r) { return propagate_kernels<T, I>().extreme_grad(job, r); }),
                 grad.size(0), matrix.entries());
  });
  return dx;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CPU, m) {
  m.impl("propagate", TORCH_BOX(&propagate));
  m.impl("propagate_out", TORCH_BOX(&propagate_out));
  m.impl("propagate_activated_out", TORCH_BOX(&propagate_activated_out));
  m.impl("propagate_activated", TORCH_BOX(&propagate_activated));
  m.impl("propagate_weight_grad", TORCH_BOX(&propagate_weight_grad));
  m.impl("propagate_extreme", TORCH_BOX(&propagate_extreme));
  m.impl("propagate_extreme_grad", TORCH_BOX(&propagate_extreme_grad));
}

}  // namespace
}  // namespace multipath_gcn
