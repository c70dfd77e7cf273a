// y[i, f] = sum_j A[i, j] x[j, f] for a sparse matrix A, its extremes and all gradients on CUDA: checks, views and
// registration. The arithmetic is in propagate.cuh and propagate_weight_grad.cuh.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "rows.cuh"

namespace multipath_gcn::gpu {
namespace {

// Calls body with a value of x's element type and one of the indices' type.
template <typename Body>
void dispatch_both(const Tensor& x, const MatrixArgs& matrix, const char* name, Body&& body) {
  dispatch(x.scalar_type(), name, [&](auto element) {
    matrix.rowptr.scalar_type() == ScalarType::Long ? body(element, int64_t{}) : body(element, int{});
  });
}

// The same matrix with contiguous values, which the caller keeps while kernels are launched.
MatrixArgs contiguous_values(const MatrixArgs& matrix) {
  return {matrix.rowptr, matrix.col, contiguous(matrix.weight), contiguous(matrix.row_scale),
          contiguous(matrix.col_scale)};
}

template <typename Index, typename S>
Csr<Index, S> csr_of(const MatrixArgs& matrix, int64_t columns) {
  return {data<const Index>(matrix.rowptr), data<const Index>(matrix.col), data<const S>(matrix.weight),
          data<const S>(matrix.row_scale), data<const S>(matrix.col_scale), matrix.rows(), columns, matrix.entries()};
}

Tensor new_rows(const Tensor& x, const MatrixArgs& matrix, ScalarType dtype) {
  return torch::stable::empty({matrix.rows(), x.size(1)}, dtype, std::nullopt, x.device());
}

// One reduction of x by the matrix. `add` sets what only this one has.
template <Reduce kReduce, typename Add>
void reduce_rows(const Tensor& x, const MatrixArgs& matrix, const Tensor& y, const ActivationArgs& activation,
                 const Tensor& kept, const char* name, const Add& add) {
  if (y.numel() == 0) return;
  Launcher launcher(x);
  const MatrixArgs near = contiguous_values(matrix);
  const std::optional<Tensor> bias = contiguous(activation.bias);
  const int word = word_elements(x.size(1), static_cast<int>(x.element_size()));
  const Tensor rows = rows_for(x, word);
  dispatch_both(x, matrix, name, [&](auto element, auto index) {
    using T = decltype(element);
    using Index = decltype(index);
    PropagateArgs<T, Index> args{};
    args.matrix = csr_of<Index, Accumulate<T>>(near, x.size(0));
    args.x = data<const T>(rows);
    args.x_stride = rows.stride(0);
    args.y = data<T>(y);
    add(args);
    run_propagate<kReduce>(launcher, args, x.size(1), activation_of<T>(activation, bias, kept));
  });
}

const ActivationArgs kNone{std::nullopt, false, 0, std::nullopt};

std::tuple<Tensor, Tensor> sum_rows(const Tensor& x, const MatrixArgs& matrix, const ActivationArgs& activation,
                                    const char* name) {
  check_features("x", x);
  check_matrix(matrix, x.size(0), x);
  check_activation(activation, x);
  const Tensor y = new_rows(x, matrix, x.scalar_type()), kept = empty_kept(x, matrix.rows(), activation);
  reduce_rows<Reduce::sum>(x, matrix, y, activation, kept, name, [](auto&) {});
  return {y, kept};
}

using Optional = const std::optional<Tensor>&;

Tensor propagate(const Tensor& x, const Tensor& rowptr, const Tensor& col, Optional weight, Optional row_scale,
                 Optional col_scale, Optional, Optional, Optional) {
  return std::get<0>(sum_rows(x, {rowptr, col, weight, row_scale, col_scale}, kNone, "propagate"));
}

std::tuple<Tensor, Tensor> propagate_activated(const Tensor& x, const Tensor& rowptr, const Tensor& col,
                                               Optional weight, Optional row_scale, Optional col_scale, Optional,
                                               Optional, Optional, Optional bias, bool relu, double dropout,
                                               Optional seed) {
  return sum_rows(x, {rowptr, col, weight, row_scale, col_scale}, {bias, relu, dropout, seed}, "propagate_activated");
}

std::tuple<Tensor, Tensor> propagate_extreme(const Tensor& x, const Tensor& rowptr, const Tensor& col, Optional weight,
                                             Optional row_scale, Optional col_scale, Optional, Optional, Optional,
                                             bool largest) {
  const MatrixArgs matrix{rowptr, col, weight, row_scale, col_scale};
  check_features("x", x);
  check_matrix(matrix, x.size(0), x);
  check_source_columns(x.size(0));
  const Tensor y = new_rows(x, matrix, x.scalar_type()), source = new_rows(x, matrix, ScalarType::Int);
  reduce_rows<Reduce::extreme>(x, matrix, y, kNone, {}, "propagate_extreme", [&](auto& args) {
    args.source = data<int>(source);
    args.largest = largest;
  });
  return {y, source};
}

Tensor propagate_extreme_grad(const Tensor& grad, const Tensor& source, const Tensor& rowptr, const Tensor& col,
                              Optional weight, Optional row_scale, Optional col_scale) {
  const MatrixArgs transposed{rowptr, col, weight, row_scale, col_scale};
  check_features("grad", grad);
  check_matrix(transposed, grad.size(0), grad);
  check_source(source, grad);
  check_source_columns(transposed.rows());
  const Tensor dx = new_rows(grad, transposed, grad.scalar_type());
  const int word = word_elements(grad.size(1), static_cast<int>(grad.element_size()));
  const Tensor chosen = rows_for(torch::stable::contiguous(source), word);
  reduce_rows<Reduce::chosen>(grad, transposed, dx, kNone, {}, "propagate_extreme_grad",
                              [&](auto& args) { args.chosen = data<const int>(chosen); });
  return dx;
}

Tensor propagate_weight_grad(const Tensor& grad, const Tensor& x, const Tensor& rowptr, const Tensor& col,
                             Optional row_scale, Optional col_scale) {
  const MatrixArgs matrix{rowptr, col, std::nullopt, row_scale, col_scale};
  check_features("x", x);
  check_features("grad", grad);
  check_like("grad", grad, x);
  check_matrix(matrix, x.size(0), x);
  STD_TORCH_CHECK(grad.size(0) == matrix.rows() && grad.size(1) == x.size(1), "grad must have shape [", matrix.rows(),
                  ", ", x.size(1), "], got ", shape_text(grad));
  Tensor dweight = torch::stable::empty({matrix.entries()}, sum_type(x.scalar_type()), std::nullopt, x.device());
  if (x.numel() == 0 || grad.numel() == 0) return torch::stable::zero_(dweight);
  if (matrix.entries() == 0) return dweight;
  Launcher launcher(x);
  const MatrixArgs near = contiguous_values(matrix);
  const int word = word_elements(x.size(1), static_cast<int>(x.element_size()));
  const Tensor grad_rows = rows_for(grad, word), x_rows = rows_for(x, word);
  dispatch_both(x, matrix, "propagate_weight_grad", [&](auto element, auto index) {
    using T = decltype(element);
    using Index = decltype(index);
    EntryGradArgs<T, Index> args{};
    args.matrix = csr_of<Index, Accumulate<T>>(near, x.size(0));
    args.grad = data<const T>(grad_rows);
    args.x = data<const T>(x_rows);
    args.grad_stride = grad_rows.stride(0);
    args.x_stride = x_rows.stride(0);
    args.features = x.size(1);
    args.dweight = data<Accumulate<T>>(dweight);
    run_entry_grad(launcher, args);
  });
  return dweight;
}

STABLE_TORCH_LIBRARY_IMPL(multipath_gcn, CUDA, m) {
  m.impl("propagate", TORCH_BOX(&propagate));
  m.impl("propagate_activated", TORCH_BOX(&propagate_activated));
  m.impl("propagate_weight_grad", TORCH_BOX(&propagate_weight_grad));
  m.impl("propagate_extreme", TORCH_BOX(&propagate_extreme));
  m.impl("propagate_extreme_grad", TORCH_BOX(&propagate_extreme_grad));
}

}  // namespace
}  // namespace multipath_gcn::gpu
