"""What the tensors and arguments of a 2-d convolution mean, checked."""

import torch
from torch import Tensor

from multipath_gcn import conv_geometry
from multipath_gcn.conv_geometry import Geometry

DTYPES = (torch.float32, torch.bfloat16, torch.float64)


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
    if x.dtype not in DTYPES and not (x.dtype is torch.float16 and x.is_cuda):
        raise ValueError(f"x must be of type float32, float64 or bfloat16, or on CUDA float16, got {x.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise ValueError(f"{name} must be on the device of x ({x.device}), got {tensor.device}")
        if tensor.dtype is not x.dtype:
            raise ValueError(f"{name} must be of the type of x ({x.dtype}), got {tensor.dtype}")
    shape = None if bias is None else bias.shape
    return geometry_of(x.shape, weight.shape, stride, padding, dilation, groups, shape)


def geometry_of(x: torch.Size, weight: torch.Size, stride, padding, dilation, groups, bias=None) -> Geometry:
    """The geometry of a convolution of such shapes; errors as of :func:`geometry`."""
    compiling = torch.compiler.is_compiling()  # sizes may be unknown: no keys
    ask = conv_geometry.geometry_of if compiling else conv_geometry.known_geometry
    return ask(x, weight, stride, padding, dilation, groups, bias)


def options_of(weight: torch.Size, stride, padding, dilation, groups) -> Geometry:
    """The geometry of a weight, whatever the images; errors as of :func:`geometry`."""
    if len(weight) != 4:
        raise ValueError(f"weight must have shape [O, C / groups, R, S], got {list(weight)}")
    return geometry_of(
        conv_geometry.smallest_input(weight, dilation, groups), weight, stride, padding, dilation, groups
    )
