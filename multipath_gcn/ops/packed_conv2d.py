"""A convolution whose weight is rearranged once, for inference."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from multipath_gcn.conv_geometry import Padding, Pair, out_size
from multipath_gcn.ops.autocast import autocast
from multipath_gcn.ops.conv_dispatch import plan_of
from multipath_gcn.ops.conv_geometry import DTYPES, geometry_of, options_of
from multipath_gcn.ops.grouped_conv2d import convolve
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.stock_conv2d import frozen_stock_conv2d

PACK = OPS.grouped_conv2d_pack.default
PACKED = OPS.grouped_conv2d_packed.default
MOST_PLANS = 8


def prepack_conv2d(
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    activation: str | None = None,
) -> "PackedConv2d":
    """:func:`grouped_conv2d` with a weight rearranged once for this machine: a function of ``x``, for inference.

    Args and errors are those of :func:`grouped_conv2d`.
    """
    return PackedConv2d(weight, bias, stride, padding, dilation, groups, activation)


class PackedConv2d:
    """What :func:`prepack_conv2d` returns. Holds copies: later changes of ``weight`` and ``bias`` are not seen."""

    def __init__(self, weight, bias, stride, padding, dilation, groups, activation):
        if activation is not None and activation != "relu":
            raise ValueError(f'activation must be None or "relu", got {activation!r}')
        for name, tensor in (("weight", weight), ("bias", bias)):
            if not isinstance(tensor, Tensor) and not (tensor is None and name == "bias"):
                raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if weight.dtype not in DTYPES and not (weight.dtype is torch.float16 and weight.is_cuda):
            raise ValueError(
                f"weight must be of type float32, float64 or bfloat16, or on CUDA float16, got {weight.dtype}"
            )
        if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != weight.dtype):
            wanted = f"of shape [{weight.size(0)}] and type {weight.dtype}"
            raise ValueError(f"bias must be {wanted}, got {list(bias.shape)} and {bias.dtype}")
        self.arguments = (stride, padding, dilation, groups)
        self.weight = weight.detach().clone(memory_format=torch.contiguous_format)
        self.bias = None if bias is None else bias.detach().clone()
        self.relu = activation is not None
        self.packed = PACK(self.weight, *options_of(weight.shape, *self.arguments), self.relu) if self.native else None
        self._plans: dict[tuple, _Known] = {}  # by what there is to know of an x that fits

    @property
    def native(self) -> bool:
        return self.weight.device.type == "cpu"

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The convolution of images (N, C, H, W) or (C, H, W), of the type and on the device of the weight.

        Args:
            residual: of the shape of the output, added before the activation.

        Raises:
            ValueError: when ``x`` or ``residual`` does not fit, or requires a gradient.
        """
        check_call("x", x)
        if residual is not None:
            check_call("residual", residual)
        if torch.compiler.is_compiling() or not self.native:
            return self._unpacked(x, residual)
        known = self._plans.get(plan_key(x))
        if known is None or not known.fits(residual, x):
            return self._planned(x, residual)
        if known.stock is None:
            return PACKED(x, self.packed, self.bias, residual)
        return known.stock(x, residual)

    def _planned(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """What is new, or does not fit."""
        x, residual = (
            as_packed("x", x, self.weight),
            None if residual is None else as_packed("residual", residual, self.weight),
        )
        of = geometry_of(x.shape, self.weight.shape, *self.arguments)
        wanted = (*x.shape[:-3], self.weight.size(0), *out_size(x.shape[-2:], self.weight.shape[2:], of))
        if residual is not None:
            _check_shape(residual, wanted)
        if x.dim() == 3:
            return self(x.unsqueeze(0), None if residual is None else residual.unsqueeze(0)).squeeze(0)
        if plan_key(x) not in self._plans:
            if len(self._plans) == MOST_PLANS:
                self._plans.clear()
            stock = plan_of(x, self.weight, of).stock["y"] is not None
            way = frozen_stock_conv2d(x, self.weight, self.bias, of, self.relu) if stock else None
            self._plans[plan_key(x)] = _Known(wanted, way)
        return self(x, residual)

    def _unpacked(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """By the weight as it was given, where nothing is packed."""
        x, added = as_packed("x", x, self.weight), residual is not None
        y = convolve(x, self.weight, self.bias, *self.arguments, self.relu and not added)
        if not added:
            return y
        _check_shape(residual, y.shape)
        y = y + as_packed("residual", residual, self.weight)
        return y.relu() if self.relu else y

    def __deepcopy__(self, memo) -> "PackedConv2d":
        return self

    def __reduce__(self):
        raise TypeError("a packed weight is of use on this machine only: store the weight, and pack it after loading")

    def __repr__(self) -> str:
        stride, padding, dilation, groups = self.arguments
        return (
            f"{type(self).__name__}({list(self.weight.shape)}, stride={stride}, padding={padding}, "
            f"dilation={dilation}, groups={groups}, activation={'relu' if self.relu else None})"
        )


def as_packed(name: str, tensor: Tensor, weight: Tensor) -> Tensor:
    """A tensor that a packed weight is applied to, cast as autocast does; checked."""
    (tensor,) = autocast(tensor, dtype=weight.dtype)
    if tensor.dtype is not weight.dtype or tensor.device != weight.device:
        wanted = f"{weight.dtype} on {weight.device}"
        raise ValueError(f"{name} must be like the packed weight ({wanted}), got {tensor.dtype} on {tensor.device}")
    return tensor


def check_call(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{name} must not require a gradient with a packed weight: call it under no_grad")


def _check_shape(residual: Tensor, wanted: tuple[int, ...]) -> None:
    if residual.shape != wanted:
        raise ValueError(f"residual must have the shape of the output, {list(wanted)}, got {list(residual.shape)}")


class _Known(NamedTuple):
    """What is known of images that fit."""

    shape: tuple[int, ...]  # of the output
    stock: Callable | None  # PyTorch's operator, where it is faster

    def fits(self, residual: Tensor | None, x: Tensor) -> bool:
        return residual is None or (
            residual.shape == self.shape and residual.dtype is x.dtype and residual.device == x.device
        )


def plan_key(x: Tensor) -> tuple:
    """All that a plan depends on."""
    return x.shape, x.stride(), x.dtype, x.device, torch.are_deterministic_algorithms_enabled()
