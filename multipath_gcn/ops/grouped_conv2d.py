r"""y[n, gK + k] = act(b + sum_{c, r, s} W[gK + k, c, r, s] x[n, gC + c, ...]): grouped convolution of images.

One story in reading order: the public function, what its arguments mean, gradients and shapes of the operators.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.reference.channel_transform import memory_format

CONV = OPS.grouped_conv2d.default
INPUT_GRAD = OPS.grouped_conv2d_input_grad.default
WEIGHT_GRAD = OPS.grouped_conv2d_weight_grad.default

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
Pair = int | Sequence[int]
Padding = Pair | Sequence[Sequence[int]] | str


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
    :func:`torch.nn.functional.conv2d` computes, with an activation in the store. Autocast acts as on it.

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
    _check_kinds(x, weight, bias)
    if torch.is_autocast_enabled(x.device.type) and x.device.type != "meta":
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (t if t is None or t.dtype is torch.float64 else t.to(dtype) for t in (x, weight, bias))
    geometry = _geometry(x, weight, bias, stride, padding, dilation, groups)
    if x.device.type not in ("cpu", "meta"):
        return _stock(x, weight, bias, *geometry, groups, activation is not None)
    if x.dim() == 3:
        return CONV(x.unsqueeze(0), weight, bias, *geometry, groups, activation is not None).squeeze(0)
    return CONV(x, weight, bias, *geometry, groups, activation is not None)


def _stock(x, weight, bias, stride, sides, dilation, groups, relu) -> Tensor:
    """PyTorch's operator: what computes on other devices so far."""
    top, bottom, left, right = sides
    if top != bottom or left != right:
        x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
    y = F.conv2d(x, weight, bias, stride, (top, left), dilation, groups)
    return y.relu_() if relu else y


# Meaning


def _check_kinds(x, weight, bias) -> None:
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if tensor is None and name == "bias":
            continue
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.device != x.device:
            raise ValueError(f"{name} must be on the device of x ({x.device}), got {tensor.device}")


def _geometry(x, weight, bias, stride, padding, dilation, groups) -> tuple[list[int], list[int], list[int]]:
    """stride, padding and dilation as the operators take them; all of it checked."""
    if x.dtype not in DTYPES:
        raise ValueError(f"x must be of type float32, float64 or bfloat16, got {x.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise ValueError(f"{name} must be of the type of x ({x.dtype}), got {tensor.dtype}")
    if x.dim() not in (3, 4):
        raise ValueError(f"x must have shape [N, C, H, W] or [C, H, W], got {list(x.shape)}")
    if weight.dim() != 4 or 0 in weight.shape[2:]:
        raise ValueError(f"weight must have shape [O, C / groups, R, S] with R and S above 0, got {list(weight.shape)}")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be an integer of at least 1, got {groups!r}")
    channels, filters = x.size(-3), weight.size(0)
    if channels % groups or filters % groups:
        raise ValueError(f"groups must divide both numbers of channels ({channels} and {filters}), got {groups}")
    if weight.size(1) != channels // groups:
        raise ValueError(f"weight must have {channels // groups} channels (C / groups), got shape {list(weight.shape)}")
    if bias is not None and bias.shape != (filters,):
        raise ValueError(f"bias must have shape [{filters}], got {list(bias.shape)}")
    stride, dilation = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
    sides = _sides(padding, weight.shape[2:], stride, dilation)
    for d, name in enumerate(("height", "width")):
        extent, size = dilation[d] * (weight.size(2 + d) - 1) + 1, x.size(-2 + d) + sides[2 * d] + sides[2 * d + 1]
        if extent > size:
            raise ValueError(f"the kernel must fit the padded {name} of x ({size}), got an extent of {extent}")
    return stride, sides, dilation


def _pair(name: str, value: Pair, least: int) -> list[int]:
    pair = [value, value] if isinstance(value, int) else list(value) if isinstance(value, Sequence) else [None]
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2 or not all(isinstance(v, int) and least <= v < 2**31 for v in pair):
        raise ValueError(f"{name} must be one or two integers of at least {least}, got {value!r}")
    return pair


def _sides(padding: Padding, kernel: Sequence[int], stride: list[int], dilation: list[int]) -> list[int]:
    """top, bottom, left, right"""
    if padding == "valid":
        return [0] * 4
    if padding == "same":
        if stride != [1, 1]:
            raise ValueError(f'padding must not be "same" with a stride other than 1, got stride {stride}')
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [side for total in totals for side in (total // 2, total - total // 2)]
    if isinstance(padding, Sequence) and len(padding) == 2 and any(isinstance(p, Sequence) for p in padding):
        return [side for p in padding for side in _pair("padding of each dimension", p, 0)]
    if isinstance(padding, str):
        raise ValueError(f'padding must be "same", "valid" or numbers, got {padding!r}')
    return [side for side in _pair("padding", padding, 0) for _ in range(2)]


# Gradients: an input gradient is linear in the output's gradient and the weight, a weight gradient in x and the former.


def _setup(ctx, inputs, output) -> None:
    x, weight, _, *ctx.geometry, ctx.relu = inputs
    ctx.save_for_backward(x, weight, output if ctx.relu else None)


def _backward(ctx, grad):
    x, weight, y = ctx.saved_tensors
    if ctx.relu:
        grad = torch.where(y > 0, grad, 0)
    wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
    dx = INPUT_GRAD(grad, weight, x.shape[2:], *ctx.geometry) if wants_x else None
    dweight = WEIGHT_GRAD(grad, x, weight.shape[2:], *ctx.geometry) if wants_weight else None
    return dx, dweight, grad.sum((0, 2, 3)) if wants_bias else None, None, None, None, None, None


def _setup_input_grad(ctx, inputs, output) -> None:
    grad, weight, _, *ctx.geometry = inputs
    ctx.save_for_backward(grad, weight)


def _backward_input_grad(ctx, ddx):
    grad, weight = ctx.saved_tensors
    wants_grad, wants_weight = ctx.needs_input_grad[:2]
    dgrad = CONV(ddx, weight, None, *ctx.geometry, False) if wants_grad else None
    dweight = WEIGHT_GRAD(grad, ddx, weight.shape[2:], *ctx.geometry) if wants_weight else None
    return dgrad, dweight, None, None, None, None, None


def _setup_weight_grad(ctx, inputs, output) -> None:
    grad, x, _, *ctx.geometry = inputs
    ctx.save_for_backward(grad, x)


def _backward_weight_grad(ctx, ddweight):
    grad, x = ctx.saved_tensors
    wants_grad, wants_x = ctx.needs_input_grad[:2]
    dgrad = CONV(x, ddweight, None, *ctx.geometry, False) if wants_grad else None
    dx = INPUT_GRAD(grad, ddweight, x.shape[2:], *ctx.geometry) if wants_x else None
    return dgrad, dx, None, None, None, None, None


for _name, _call, _context in (
    ("grouped_conv2d", _backward, _setup),
    ("grouped_conv2d_input_grad", _backward_input_grad, _setup_input_grad),
    ("grouped_conv2d_weight_grad", _backward_weight_grad, _setup_weight_grad),
):
    torch.library.register_autograd(f"multipath_gcn::{_name}", _call, setup_context=_context)


@torch.library.register_fake("multipath_gcn::grouped_conv2d")
def _(x, weight, bias, stride, padding, dilation, groups, relu):
    size = [
        (x.size(2 + d) + padding[2 * d] + padding[2 * d + 1] - dilation[d] * (weight.size(2 + d) - 1) - 1) // stride[d]
        + 1
        for d in range(2)
    ]
    y = x.new_empty(x.size(0), weight.size(0), *size)
    return y.contiguous(memory_format=memory_format(x, 1))


@torch.library.register_fake("multipath_gcn::grouped_conv2d_input_grad")
def _(grad, weight, size, stride, padding, dilation, groups):
    dx = grad.new_empty(grad.size(0), weight.size(1) * groups, *size)
    return dx.contiguous(memory_format=memory_format(grad, 1))


@torch.library.register_fake("multipath_gcn::grouped_conv2d_weight_grad")
def _(grad, x, kernel_size, stride, padding, dilation, groups):
    return x.new_empty(grad.size(1), x.size(1) // groups, *kernel_size)
