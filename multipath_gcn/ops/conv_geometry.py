"""What the arguments of a 2-d convolution mean, checked: one function for all who ask."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
Pair = int | Sequence[int]
Padding = Pair | Sequence[Sequence[int]] | str


class Geometry(NamedTuple):
    """How outputs of a convolution meet its input, in the order in which the operators take it."""

    stride: tuple[int, int]
    sides: tuple[int, int, int, int]  # padding above, below, left, right
    dilation: tuple[int, int]
    groups: int


def geometry(x: Tensor, weight: Tensor, bias: Tensor | None, stride, padding, dilation, groups) -> Geometry:
    """The geometry of a convolution of tensors.

    Raises:
        ValueError: when kinds, devices, types or shapes do not fit.
    """
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor) and (bias is None or isinstance(bias, Tensor))):
        name, value = next(
            (n, t) for n, t in (("x", x), ("weight", weight), ("bias", bias)) if not isinstance(t, Tensor)
        )
        raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
    if x.dtype not in DTYPES:
        raise ValueError(f"x must be of type float32, float64 or bfloat16, got {x.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise ValueError(f"{name} must be on the device of x ({x.device}), got {tensor.device}")
        if tensor.dtype is not x.dtype:
            raise ValueError(f"{name} must be of the type of x ({x.dtype}), got {tensor.dtype}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape [{weight.size(0)}], got {list(bias.shape)}")
    return geometry_of(x.shape, weight.shape, stride, padding, dilation, groups)


def geometry_of(x: torch.Size, weight: torch.Size, stride, padding, dilation, groups) -> Geometry:
    """The geometry of a convolution of shapes; errors as of :func:`geometry`."""
    if torch.compiler.is_compiling():  # sizes may be unknown: no keys
        return _geometry(x, weight, stride, padding, dilation, groups)
    return _known(x, weight, _key(stride), _key(padding), _key(dilation), groups)


def options_of(weight: torch.Size, stride, padding, dilation, groups) -> Geometry:
    """The geometry of a weight, whatever the images; errors as of :func:`geometry`."""
    if len(weight) != 4:
        raise ValueError(f"weight must have shape [O, C / groups, R, S], got {list(weight)}")
    extents = [_pair("dilation", dilation, 1)[d] * (weight[2 + d] - 1) + 1 for d in range(2)]
    channels = weight[1] * groups if isinstance(groups, int) else weight[1]
    return geometry_of((1, channels, *extents), weight, stride, padding, dilation, groups)


def _key(value):
    return tuple(map(_key, value)) if isinstance(value, (list, tuple)) else value


def _geometry(x, weight, stride, padding, dilation, groups) -> Geometry:
    if len(x) not in (3, 4):
        raise ValueError(f"x must have shape [N, C, H, W] or [C, H, W], got {list(x)}")
    if len(weight) != 4 or 0 in weight[2:]:
        raise ValueError(f"weight must have shape [O, C / groups, R, S] with R and S above 0, got {list(weight)}")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be an integer of at least 1, got {groups!r}")
    channels, filters = x[-3], weight[0]
    if channels % groups or filters % groups:
        raise ValueError(f"groups must divide both numbers of channels ({channels} and {filters}), got {groups}")
    if weight[1] != channels // groups:
        raise ValueError(f"weight must have {channels // groups} channels (C / groups), got shape {list(weight)}")
    stride, dilation = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
    sides = _sides(padding, weight[2:], stride, dilation)
    for d, name in enumerate(("height", "width")):
        extent, size = dilation[d] * (weight[2 + d] - 1) + 1, x[-2 + d] + sides[2 * d] + sides[2 * d + 1]
        if extent > size:
            raise ValueError(f"the kernel must fit the padded {name} of x ({size}), got an extent of {extent}")
    return Geometry(tuple(stride), tuple(sides), tuple(dilation), groups)


_known = lru_cache(maxsize=1024, typed=True)(_geometry)  # a layer asks the same each time


def out_size(size: Sequence[int], kernel: Sequence[int], of: Geometry) -> list[int]:
    """Height and width of the outputs for an input of so many rows and columns."""
    return [
        (size[d] + of.sides[2 * d] + of.sides[2 * d + 1] - of.dilation[d] * (kernel[d] - 1) - 1) // of.stride[d] + 1
        for d in range(2)
    ]


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
