r"""y[n, gK + k] = act(b + sum_{c, r, s} W[gK + k, c, r, s] x[n, gC + c, ...]): grouped convolution of images.

One story in reading order: the public function, gradients, registration. What arguments mean is in conv_geometry, who
computes in conv_dispatch.
"""

import torch
from torch import Tensor

from multipath_gcn.conv_geometry import Geometry, Padding, Pair, out_size
from multipath_gcn.ops.conv_dispatch import compute, ours, stock, stock_reason, stock_step_is_best
from multipath_gcn.ops.conv_geometry import geometry
from multipath_gcn.ops.reference.channel_transform import memory_format


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
    if isinstance(x, Tensor) and x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
        x, weight, bias = autocast(x.device, x, weight, bias)
    of = geometry(x, weight, bias, stride, padding, dilation, groups)
    images = x if x.dim() == 4 else x.unsqueeze(0)
    sizes = of, images.shape[2:], weight.shape[2:]
    if torch.compiler.is_compiling() or x.device.type == "meta":
        way = stock if stock_reason("y", images, weight, of, sizes[2]) else ours
        y = way("y", images, weight, sizes, bias, activation is not None)
    elif _has_gradient(x, weight, bias) and stock_step_is_best(images, weight, of):
        y = stock("y", images, weight, sizes, bias, activation is not None)
    else:
        y = _derive(compute, "y", images, weight, sizes, bias, activation is not None)
    return y if x.dim() == 4 else y.squeeze(0)


def autocast(device: torch.device, *tensors: Tensor | None) -> list[Tensor | None]:
    """As for F.conv2d: all that is floating, save float64."""
    dtype = torch.get_autocast_dtype(device.type)
    return [t.to(dtype) if isinstance(t, Tensor) and t.dtype is not torch.float64 else t for t in tensors]


# Gradients. The convolution is trilinear in y, x and weight: each operator takes two of these and gives the third, the
# derivative by its place, so that derivatives of any order are the same three again.

OPERANDS = {"y": ("x", "weight"), "x": ("y", "weight"), "weight": ("y", "x")}


def _derive(way, place: str, a: Tensor, b: Tensor, sizes: tuple, bias: Tensor | None = None, relu=False) -> Tensor:
    """What stands in ``place``, from the two :data:`OPERANDS`, and all its derivatives, by ``way``.

    Args:
        way: `compute`, which decides who does; or `ours`, for the operators themselves.
        sizes: geometry, input size and kernel size.
    """
    if _has_gradient(a, b, bias):
        return _Trilinear.run(a, b, bias, way, place, sizes, relu)
    with torch._C._AutoDispatchBelowAutograd():
        return way(place, a, b, sizes, bias, relu)


def _has_gradient(a: Tensor, b: Tensor, bias: Tensor | None) -> bool:
    wanted = a.requires_grad or b.requires_grad or (bias is not None and bias.requires_grad)
    return wanted and torch.is_grad_enabled()


class _Trilinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, bias, way, place, sizes, relu):
        with torch._C._AutoDispatchBelowAutograd():
            result = way(place, a, b, sizes, bias, relu)
        ctx.way, ctx.place, ctx.sizes = way, place, sizes
        ctx.save_for_backward(
            a if ctx.needs_input_grad[1] else None, b if ctx.needs_input_grad[0] else None, result if relu else None
        )
        return result

    @staticmethod
    def backward(ctx, grad):
        a, b, result = ctx.saved_tensors
        if result is not None:  # relu; detached, since the mask itself has no slope
            grad = torch.ops.aten.threshold_backward(grad, result.detach(), 0)
        first, second = OPERANDS[ctx.place]
        known = {ctx.place: grad, first: a, second: b}
        needs_a, needs_b, needs_bias, *_ = ctx.needs_input_grad
        grad_a, grad_b = (
            _derive(ctx.way, name, *(known[operand] for operand in OPERANDS[name]), ctx.sizes) if needed else None
            for name, needed in ((first, needs_a), (second, needs_b))
        )
        return grad_a, grad_b, grad.sum((2, 3)).sum(0) if needs_bias else None, None, None, None, None


# Function.apply serves torch.func before it calls this: a fifth of the time of a small call
_Trilinear.run = super(torch.autograd.Function, _Trilinear).apply


# Registration

LIBRARY = torch.library.Library("multipath_gcn", "IMPL")


@torch.library.impl(LIBRARY, "grouped_conv2d", "Autograd")
def _(x, weight, bias, stride, padding, dilation, groups, relu):
    sizes = Geometry(stride, padding, dilation, groups), x.shape[2:], weight.shape[2:]
    return _derive(ours, "y", x, weight, sizes, bias, relu)


@torch.library.impl(LIBRARY, "grouped_conv2d_input_grad", "Autograd")
def _(grad, weight, size, stride, padding, dilation, groups):
    return _derive(ours, "x", grad, weight, (Geometry(stride, padding, dilation, groups), size, weight.shape[2:]))


@torch.library.impl(LIBRARY, "grouped_conv2d_weight_grad", "Autograd")
def _(grad, x, kernel_size, stride, padding, dilation, groups):
    return _derive(ours, "weight", grad, x, (Geometry(stride, padding, dilation, groups), x.shape[2:], kernel_size))


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


def _images(like: Tensor, channels: int, size) -> Tensor:
    y = like.new_empty(like.size(0), channels, *size)
    return y.contiguous(memory_format=memory_format(like, 1))
