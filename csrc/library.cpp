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
}
