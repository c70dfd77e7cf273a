// What must hold for the arguments of propagate* and activate* on any device, beside check.h, and the results they
// share.
//
// The values of rowptr, col and source cannot be checked here: reading them would wait for the device. Kernels never
// follow one out of its tensor; that they are right is checked in Python, once per matrix.
#pragma once
#include "check.h"

namespace multipath_gcn {

// A[i, j] = row_scale[i] weight[e] col_scale[j] for the entry e of row i in column j = col[e]; what is absent counts as
// 1.
struct MatrixArgs {
  Tensor rowptr, col;
  std::optional<Tensor> weight, row_scale, col_scale;

  int64_t rows() const { return rowptr.size(0) - 1; }
  int64_t entries() const { return col.size(0); }
};

// drop(relu(y + bias)), where relu and dropout > 0 ask for them.
struct ActivationArgs {
  std::optional<Tensor> bias;
  bool relu;
  double dropout;
  std::optional<Tensor> seed;

  bool masks() const { return relu || dropout > 0; }  // whether some value may be without a slope
};

// What sums over values of this type are kept in.
inline ScalarType sum_type(ScalarType dtype) { return dtype == ScalarType::Double ? dtype : ScalarType::Float; }

inline void check_device(const char* name, const Tensor& t, const Tensor& x) {
  STD_TORCH_CHECK(t.is_cuda() == x.is_cuda() && t.get_device() == x.get_device(), name,
                  " must be on the device of the input, got device index ", t.get_device(), " and ", x.get_device());
}

inline void check_features(const char* name, const Tensor& t) {
  STD_TORCH_CHECK(t.dim() == 2, name, " must have shape [N, F], got ", shape_text(t));
}

// One value for every row, column or entry.
inline void check_values(const char* name, const std::optional<Tensor>& t, int64_t size, const Tensor& x) {
  if (!t) return;
  check_device(name, *t, x);
  STD_TORCH_CHECK(t->scalar_type() == sum_type(x.scalar_type()), name,
                  " must be float32, or float64 where the input is, got ScalarType ",
                  static_cast<int>(t->scalar_type()));
  STD_TORCH_CHECK(t->dim() == 1 && t->size(0) == size, name, " must have shape [", size, "], got ", shape_text(*t));
}

// A matrix of `columns` columns that is applied to x [*, F].
inline void check_matrix(const MatrixArgs& matrix, int64_t columns, const Tensor& x) {
  for (const Tensor* t : {&matrix.rowptr, &matrix.col}) {
    const char* name = t == &matrix.rowptr ? "rowptr" : "col";
    check_device(name, *t, x);
    STD_TORCH_CHECK(t->scalar_type() == ScalarType::Int || t->scalar_type() == ScalarType::Long, name,
                    " must be int32 or int64, got ScalarType ", static_cast<int>(t->scalar_type()));
    STD_TORCH_CHECK(t->dim() == 1 && t->is_contiguous(), name, " must be contiguous, of one dimension, got ",
                    shape_text(*t));
  }
  STD_TORCH_CHECK(matrix.rowptr.scalar_type() == matrix.col.scalar_type(),
                  "rowptr and col must have one dtype, got ScalarTypes ", static_cast<int>(matrix.rowptr.scalar_type()),
                  " and ", static_cast<int>(matrix.col.scalar_type()));
  STD_TORCH_CHECK(matrix.rowptr.size(0) >= 1, "rowptr must have shape [rows + 1], got ", shape_text(matrix.rowptr));
  check_values("weight", matrix.weight, matrix.entries(), x);
  check_values("row_scale", matrix.row_scale, matrix.rows(), x);
  check_values("col_scale", matrix.col_scale, columns, x);
}

inline void check_dropout(double dropout) {
  STD_TORCH_CHECK(0 <= dropout && dropout < 1, "dropout must lie in [0, 1), got ", dropout);
}

// An activation of values [*, F] of x's type.
inline void check_activation(const ActivationArgs& activation, const Tensor& x) {
  if (activation.bias) {
    check_like("bias", *activation.bias, x);
    STD_TORCH_CHECK(activation.bias->dim() == 1 && activation.bias->size(0) == x.size(1), "bias must have shape [",
                    x.size(1), "], got ", shape_text(*activation.bias));
  }
  check_dropout(activation.dropout);
  if (activation.dropout == 0) return;
  STD_TORCH_CHECK(activation.seed.has_value(), "seed must be given where dropout > 0, got dropout ",
                  activation.dropout);
  check_device("seed", *activation.seed, x);
  STD_TORCH_CHECK(activation.seed->scalar_type() == ScalarType::Long && activation.seed->numel() == 1,
                  "seed must be one int64, got ", shape_text(*activation.seed), " of ScalarType ",
                  static_cast<int>(activation.seed->scalar_type()));
}

// Tensors [N, F] that are added up.
inline void check_parts(const std::vector<Tensor>& parts) {
  STD_TORCH_CHECK(!parts.empty(), "parts must hold at least one tensor, got none");
  for (const Tensor& part : parts) {
    check_features("parts", part);
    check_like("parts", part, parts[0]);
    STD_TORCH_CHECK(part.size(0) == parts[0].size(0) && part.size(1) == parts[0].size(1),
                    "parts must have one shape, got ", shape_text(part), " and ", shape_text(parts[0]));
  }
}

// Where an extreme comes from is told by an int32.
inline void check_source_columns(int64_t columns) {
  STD_TORCH_CHECK(columns < (int64_t{1} << 31), "the number of columns must be below 2^31, got ", columns);
}

// Where each value of the extremes [rows, F] comes from.
inline void check_source(const Tensor& source, const Tensor& grad) {
  check_device("source", source, grad);
  STD_TORCH_CHECK(source.scalar_type() == ScalarType::Int, "source must be int32, got ScalarType ",
                  static_cast<int>(source.scalar_type()));
  STD_TORCH_CHECK(source.dim() == 2 && source.size(0) == grad.size(0) && source.size(1) == grad.size(1),
                  "source must have the shape of grad, got ", shape_text(source), " and ", shape_text(grad));
}

inline int64_t kept_bytes(int64_t features) { return features / 8 + (features % 8 != 0); }

// uint8 [rows, ceil(F / 8)] of the bits of values [rows, F], or [0] where every bit would be set. Not written yet.
inline Tensor empty_kept(const Tensor& x, int64_t rows, const ActivationArgs& activation) {
  const auto bytes = [&](std::vector<int64_t> sizes) {
    return torch::stable::empty(sizes, ScalarType::Byte, std::nullopt, x.device());
  };
  return activation.masks() ? bytes({rows, kept_bytes(x.size(1))}) : bytes({0});
}

// Whether bits were kept for values like grad.
inline bool check_kept(const Tensor& kept, const Tensor& grad) {
  check_device("kept", kept, grad);
  const int64_t rows = grad.size(0), bytes = kept_bytes(grad.size(1));
  const bool all = kept.dim() == 1 && kept.size(0) == 0;
  const bool bits = kept.dim() == 2 && kept.size(0) == rows && kept.size(1) == bytes;
  STD_TORCH_CHECK(kept.scalar_type() == ScalarType::Byte && kept.is_contiguous() && (all || bits),
                  "kept must be contiguous uint8 of shape [0] or [", rows, ", ", bytes, "], got ", shape_text(kept),
                  " of ScalarType ", static_cast<int>(kept.scalar_type()));
  return bits;
}

}  // namespace multipath_gcn
