r"""y[n, gK + k] = act(b + sum_{c, r, s} W[gK + k, c, r, s] x[n, gC + c, ...]): grouped convolution of images.

The public function and its registration. What arguments mean is in conv_geometry, who computes in conv_dispatch, and
gradients are in trilinear.
"""

import torch
from torch import Tensor

from multipath_gcn.conv_geometry import Geometry, Padding, Pair, out_size
from multipath_gcn.ops.autocast import autocast
from multipath_gcn.ops.conv_dispatch import compute, compute_gradients, own_plan, plan_of
from multipath_gcn.ops.conv_geometry import geometry
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.reference.channel_transform import memory_format
from multipath_gcn.ops.trilinear import Trilinear, has_gradient


def grouped_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    r"""Convolution whose filters read the channels of their own group.

    .. math::
        y_{n, gK+k, i, j} = \phi\Big(b_{gK+k} + \sum_{c<C} \sum_{r<R} \sum_{s<S} W_{gK+k, c, r, s} \,
            x_{n, gC+c,\; i s_h + r d_h - p_h,\; j s_w + s d_w - p_w}\Big)

    with C = in_channels / groups, K = out_channels / groups and 0 outside of x: what
    :func:`torch.nn.functional.conv2d` computes, with an activation in the store, and by it where it is faster
    (:func:`explain_conv2d`). Autocast acts as on it.

    Args:
        x: images (N, in_channels, H, W) or (in_channels, H, W), in any memory layout: float32, float64 or bfloat16.
        weight: (out_channels, in_channels / groups, R, S), of the type of ``x``.
        bias: (out_channels).
        stride, dilation: s and d: one number, or (vertical, horizontal).
        padding: p: one number, (vertical, horizontal), ((top, bottom), (left, right)), ``"valid"`` for none, or
            ``"same"`` for an output of the input's size: of an odd total, the larger half is below and to the right.
        groups: G, a divisor of both numbers of channels; ``in_channels`` for a depthwise convolution.
        activation: :math:`\phi`: None or ``"relu"``.

    Shapes:
        - **output:** (N, out_channels, H', W') with
          :math:`H' = \lfloor (H + p_{top} + p_{bottom} - d_h (R - 1) - 1) / s_h \rfloor + 1`, in the memory
          format of ``x``.

    Raises:
        ValueError: when shapes, types or devices do not fit.
    """
    if activation is not None and activation != "relu":
        raise ValueError(f'activation must be None or "relu", got {activation!r}')
    x, weight, bias = autocast(x, weight, bias)
    return convolve(x, weight, bias, stride, padding, dilation, groups, activation is not None)


def convolve(x, weight, bias, stride, padding, dilation, groups, relu: bool) -> Tensor:
    """:func:`grouped_conv2d` of the types that are given, whatever autocast says."""
    of = geometry(x, weight, bias, stride, padding, dilation, groups)
    images = x if x.dim() == 4 else x.unsqueeze(0)
    found = plan_of(images, weight, of)
    # PyTorch's own step, where all of it is PyTorch's; a trace takes operators apart itself.
    stock_step = has_gradient(x, weight, bias) and None not in found.stock.values()
    if stock_step or torch.compiler.is_compiling() or x.device.type == "meta":
        y = compute("y", images, weight, found, bias, relu)
    else:
        y = OPERATORS.derive("y", images, weight, found, bias, relu)
    return y if x.dim() == 4 else y.squeeze(0)


def _bias_grad(grad: Tensor, plan) -> Tensor:
    return grad.sum((2, 3)).sum(0)


OPERATORS = Trilinear(compute, _bias_grad, compute_gradients)


# Registration

LIBRARY = torch.library.Library("multipath_gcn", "IMPL")


@torch.library.impl(LIBRARY, "grouped_conv2d", "Autograd")
def _(x, weight, bias, stride, padding, dilation, groups, relu):
    of = Geometry(stride, padding, dilation, groups)
    return OPERATORS.derive("y", x, weight, own_plan(of, x.shape[2:], weight.shape[2:]), bias, relu)


@torch.library.impl(LIBRARY, "grouped_conv2d_input_grad", "Autograd")
def _(grad, weight, size, stride, padding, dilation, groups):
    of = Geometry(stride, padding, dilation, groups)
    return OPERATORS.derive("x", grad, weight, own_plan(of, size, weight.shape[2:]))


@torch.library.impl(LIBRARY, "grouped_conv2d_weight_grad", "Autograd")
def _(grad, x, kernel_size, stride, padding, dilation, groups):
    of = Geometry(stride, padding, dilation, groups)
    return OPERATORS.derive("weight", grad, x, own_plan(of, x.shape[2:], kernel_size))


@torch.library.impl(LIBRARY, "grouped_conv2d_gradients", "Autograd")
def _(grad, x, weight, *of):
    if not has_gradient(grad, x, weight):
        with torch._C._AutoDispatchBelowAutograd():
            return OPS.grouped_conv2d_gradients(grad, x, weight, *of)
    return (
        OPS.grouped_conv2d_input_grad(grad, weight, x.shape[2:], *of),
        OPS.grouped_conv2d_weight_grad(grad, x, weight.shape[2:], *of),
    )


@torch.library.register_fake("multipath_gcn::grouped_conv2d")
def _(x, weight, bias, stride, padding, dilation, groups, relu):
    return _images(
        x, weight.size(0), out_size(x.shape[2:], weight.shape[2:], Geometry(stride, padding, dilation, groups))
    )


@torch.library.register_fake("multipath_gcn::grouped_conv2d_input_grad")
def _(grad, weight, size, stride, padding, dilation, groups):
    return _images(grad, weight.size(1) * groups, size)


@torch.library.register_fake("multipath_gcn::grouped_conv2d_weight_grad")
def _(grad, x, kernel_size, stride, padding, dilation, groups):
    return x.new_empty(grad.size(1), x.size(1) // groups, *kernel_size)


@torch.library.register_fake("multipath_gcn::grouped_conv2d_gradients")
def _(grad, x, weight, stride, padding, dilation, groups):
    return _images(grad, x.size(1), x.shape[2:]), x.new_empty(weight.shape)


def _images(like: Tensor, channels: int, size) -> Tensor:
    y = like.new_empty(like.size(0), channels, *size)
    return y.contiguous(memory_format=memory_format(like, 1))
