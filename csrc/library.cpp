// The table of contents of the native code: every operator's schema. Kernels register themselves per device, in cpu/ and
// cuda/; meaning is checked, and autograd and shape functions are written, in multipath_gcn/ops/.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(multipath_gcn, m) {
  // y[n, o] = act(bias[o] + sum_k weight[o, k] * x[n, (start[o] + k) mod C]), rows (channel_dim -1) or images (1)
  m.def(
      "channel_transform(Tensor x, Tensor weight, Tensor? bias, Tensor start, Tensor order, int channel_dim, "
      "bool relu) -> Tensor");
  m.def(
      "channel_transform_input_grad(Tensor grad, Tensor weight, Tensor start, Tensor order, int in_channels, "
      "int channel_dim) -> Tensor");
  m.def(
      "channel_transform_weight_grad(Tensor grad, Tensor x, Tensor start, Tensor order, int width, "
      "int channel_dim) -> Tensor");
  // The same forward for weights rearranged once
  m.def("channel_transform_pack(Tensor weight, Tensor start, Tensor order, int in_channels) -> Tensor");
  m.def(
      "channel_transform_packed(Tensor x, Tensor packed, Tensor? bias, Tensor start, Tensor order, "
      "int out_channels, int width, int channel_dim, bool relu) -> Tensor");

  // Grouped convolution of images; padding is above, below, left, right
#define CONV "int[] stride, int[] padding, int[] dilation, int groups"
  m.def("grouped_conv2d(Tensor x, Tensor weight, Tensor? bias, " CONV ", bool relu) -> Tensor");
  m.def("grouped_conv2d_input_grad(Tensor grad, Tensor weight, int[] size, " CONV ") -> Tensor");
  m.def("grouped_conv2d_weight_grad(Tensor grad, Tensor x, int[] kernel_size, " CONV ") -> Tensor");
  m.def("grouped_conv2d_gradients(Tensor grad, Tensor x, Tensor weight, " CONV ") -> (Tensor, Tensor)");  // both in one call
  // The same forward, a residual added before the ReLU, for weights rearranged once, together with all that is known of the convolution
  m.def("grouped_conv2d_pack(Tensor weight, " CONV ", bool relu) -> Tensor");
  m.def("grouped_conv2d_packed(Tensor x, Tensor packed, Tensor? bias, Tensor? residual) -> Tensor");
  // Depthwise convolution and the channel transform of its result in one, by the packed weights of both
  m.def(
      "separable_conv2d_packed(Tensor x, Tensor depthwise, Tensor? depthwise_bias, Tensor pointwise, Tensor? bias, "
      "Tensor start, Tensor order, int out_channels, int width, int out_height, int out_width, bool relu) -> Tensor");
  // Groups of different width that read channels of their own choice, a residual added before the ReLU. layout: kernel size,
  // stride, padding, dilation, relu, groups; filters and channels of each; of each its channels and its places in the output.
  // weight, one group's after the other, and bias are of the type of sums
  m.def(
      "uneven_conv2d(Tensor x, Tensor weight, Tensor layout, Tensor? bias, Tensor? residual) -> Tensor");
  // Which kernel computes y ("y"), its gradient by x ("x") or by the weight ("weight")
  m.def("grouped_conv2d_kernel(Tensor x, int[] weight_size, " CONV ", str place) -> str");

  // Sparse matrices in CSR, A[i, j] = row_scale[i] weight[e] col_scale[j], what is None being 1, and their transposes:
  // y[i, f] = sum_j A[i, j] x[j, f]; the same with drop(relu(y + bias)) and a bit for every value that has a slope
#define MATRIX "Tensor rowptr, Tensor col, Tensor? weight, Tensor? row_scale, Tensor? col_scale"
#define TRANSPOSED "Tensor? rowptr_t, Tensor? col_t, Tensor? weight_t"
#define ACTIVATION "Tensor? bias, bool relu, float dropout, Tensor? seed"
  m.def("propagate(Tensor x, " MATRIX ", " TRANSPOSED ") -> Tensor");
  m.def("propagate_activated(Tensor x, " MATRIX ", " TRANSPOSED ", " ACTIVATION ") -> (Tensor, Tensor)");
  m.def(
      "propagate_weight_grad(Tensor grad, Tensor x, Tensor rowptr, Tensor col, Tensor? row_scale, Tensor? col_scale) "
      "-> Tensor");
  // y[i, f] = max or min over j of A[i, j] x[j, f], and the j
  m.def("propagate_extreme(Tensor x, " MATRIX ", " TRANSPOSED ", bool largest) -> (Tensor, Tensor)");
  m.def("propagate_extreme_grad(Tensor grad, Tensor source, " MATRIX ") -> Tensor");
  // y[i, f] = drop(relu(x[i, f] + bias[f])), and its gradients by x and bias
  m.def("activate(Tensor x, " ACTIVATION ") -> (Tensor, Tensor)");
  m.def("activate_grad(Tensor grad, Tensor kept, float dropout) -> (Tensor, Tensor)");
  // For layers of large graphs on the CPU: the same into memory that is there already, out of activate_out may be x;
  // propagate_out of what was kept of x, times 1 / (1 - dropout); the gradient by bias alone
  m.def(
      "channel_transform_out(Tensor(a!) out, Tensor x, Tensor weight, Tensor? bias, Tensor start, Tensor order, "
      "int channel_dim, bool relu) -> ()");
  m.def(
      "channel_transform_input_grad_out(Tensor(a!) out, Tensor grad, Tensor weight, Tensor start, Tensor order, "
      "int in_channels, int channel_dim) -> ()");
  m.def("propagate_out(Tensor(a!) out, Tensor x, " MATRIX ", Tensor? kept, float dropout) -> ()");
  m.def("propagate_activated_out(Tensor(a!) out, Tensor x, " MATRIX ", " ACTIVATION ") -> Tensor");
  m.def("activate_out(Tensor(a!) out, Tensor x, " ACTIVATION ") -> Tensor");
  m.def("activate_bias_grad(Tensor grad, Tensor kept, float dropout) -> Tensor");
  // y[i, f] = scale sum_p parts_p[i, f]
  m.def("combine(Tensor[] parts, float scale) -> Tensor");
  // Sums over the edges of an oriented surface, y[p, k, j, c] = sum_e wave[e, k] (R_e x[q])[j, c], and their gradient; see
  // kernels/gauge_sums.h. rowptr and col: edges by target, and their sources; transposed: edges by source, their targets and
  // which edges they are
#define SURFACE "Tensor turn, Tensor wave, Tensor rowptr, Tensor col, Tensor rowptr_t, Tensor col_t, Tensor edge_t"
  m.def("gauge_sums(Tensor x, " SURFACE ") -> Tensor");
  m.def("gauge_sums_grad(Tensor grad, " SURFACE ") -> Tensor");
  // y[c, r] = x[r, c]
  m.def("transposed(Tensor x) -> Tensor");
}
