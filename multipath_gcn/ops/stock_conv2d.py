"""PyTorch's own convolution and its gradients, told in terms of :class:`Geometry`."""

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.conv_geometry import Geometry
from multipath_gcn.ops.reference.channel_transform import memory_format


def stock_conv2d(x, weight, bias, of: Geometry, relu: bool, residual: Tensor | None = None) -> Tensor:
    y = F.conv2d(*_symmetric(x, of, weight, bias), of.dilation, of.groups)
    if residual is not None:
        y = y.add_(residual)
    return y.relu_() if relu else y


def frozen_stock_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, of: Geometry, relu: bool):
    """:func:`stock_conv2d` of such images as a function of them, and of a residual or None.

    oneDNN's weight is brought into its own order once, as frozen compiled networks do: 1.05 to 2 times as fast. Only in
    channels-last memory, which is what that operator returns, and where it exists: it is no public function.
    """
    onednn, last = torch.ops.mkldnn, memory_format(x, 1) is torch.channels_last
    known = hasattr(onednn, "_reorder_convolution_weight") and hasattr(onednn, "_convolution_pointwise")
    if not (last and known and reorders(x.dtype) and of.symmetric and torch.backends.mkldnn.enabled):

        def plain(x, residual):
            if not torch.is_autocast_enabled(x.device.type):
                return stock_conv2d(x, weight, bias, of, relu, residual)
            with torch.autocast(x.device.type, enabled=False):  # types are the weight's already
                return stock_conv2d(x, weight, bias, of, relu, residual)

        return plain
    options = list(of.sides[::2]), list(of.stride), list(of.dilation), of.groups
    own = onednn._reorder_convolution_weight(weight, *options, list(x.shape))
    pointwise = onednn._convolution_pointwise.default

    def call(x, residual):
        y = pointwise(x, own, bias, *options, "relu" if relu and residual is None else "none", [], "")
        if residual is not None:  # its own sum of two is none for groups, and fails for bfloat16
            y = y.add_(residual).relu_() if relu else y.add_(residual)
        return y

    return call


def reorders(dtype: torch.dtype) -> bool:
    """Whether this processor has the instructions that oneDNN wants for such weights, or else raises."""
    asked = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}.get(dtype)
    return asked is None or getattr(torch.ops.mkldnn, asked)()


def _symmetric(x, of: Geometry, weight, bias) -> tuple:
    top, bottom, left, right = of.sides
    if of.symmetric:
        return x, weight, bias, of.stride, (top, left)
    return F.pad(x, (left, right, top, bottom)), weight, bias, of.stride, 0


def stock_gradients(grad, x: Tensor | None, weight: Tensor | None, of: Geometry, size, kernel) -> tuple:
    """The gradient by x, which takes the weight, and the gradient by the weight, which takes x."""
    top, bottom, left, right = of.sides
    even = of.symmetric
    wanted = weight is not None, x is not None
    # What is not given serves for its shape alone, and x for its memory format: the operator goes by it.
    if x is None:
        padded = size if even else (size[0] + top + bottom, size[1] + left + right)
        shape = grad.size(0), weight.size(1) * of.groups, *padded
        x = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=memory_format(grad, 1))
    elif not even:
        x = F.pad(x, (left, right, top, bottom))
    if weight is None:
        weight = grad.new_empty(()).expand(grad.size(1), x.size(1) // of.groups, *kernel)
    padding = (top, left) if even else (0, 0)
    by_x, by_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, of.stride, padding, of.dilation, False, (0, 0), of.groups, (*wanted, False)
    )
    if by_x is not None and not even:
        by_x = by_x[:, :, top : top + size[0], left : left + size[1]].contiguous()
    return by_x, by_weight
