"""A convolution whose weight is rearranged once, for inference."""

import torch
from torch import Tensor

from multipath_gcn.conv_geometry import Padding, Pair
from multipath_gcn.ops.conv_dispatch import plan
from multipath_gcn.ops.conv_geometry import DTYPES, geometry_of, options_of
from multipath_gcn.ops.grouped_conv2d import grouped_conv2d
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
        self._plans = {}  # by what there is to know of an x that fits: PyTorch's operator where it is faster

    @property
    def native(self) -> bool:
        return self.weight.device.type == "cpu"

    def __call__(self, x: Tensor) -> Tensor:
        """The convolution of images (N, C, H, W) or (C, H, W), of the type and on the device of the weight.

        Raises:
            ValueError: when ``x`` does not fit, or requires a gradient.
        """
        if not isinstance(x, Tensor):
            raise ValueError(f"x must be a tensor, got {type(x).__name__}")
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError("x must not require a gradient with a packed weight: call it under no_grad")
        if torch.compiler.is_compiling() or not self.native:
            return grouped_conv2d(self._cast(x), self.weight, self.bias, *self.arguments, "relu" if self.relu else None)
        known = self._plans.get(_key(x), False)
        if known is None:
            return PACKED(x, self.packed, self.bias)
        if known:
            return known(x)
        x = self._cast(x)
        if x.dim() == 3:
            return self(x.unsqueeze(0)).squeeze(0)
        return self._planned(x)

    def _cast(self, x: Tensor) -> Tensor:
        """As autocast does; checked."""
        weight = self.weight
        if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type) and x.is_floating_point():
            x = x.to(weight.dtype)
        if x.dtype is not weight.dtype or x.device != weight.device:
            wanted = f"{weight.dtype} on {weight.device}"
            raise ValueError(f"x must be like the packed weight ({wanted}), got {x.dtype} on {x.device}")
        return x

    def _planned(self, x: Tensor) -> Tensor:
        of = geometry_of(x.shape, self.weight.shape, *self.arguments)
        stock = plan(x, self.weight, of).stock["y"] is not None
        if len(self._plans) == MOST_PLANS:
            self._plans.clear()
        way = frozen_stock_conv2d(x, self.weight, self.bias, of, self.relu) if stock else None
        self._plans[_key(x)] = way
        return self(x)

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


def _key(x: Tensor) -> tuple:
    """All that a plan depends on."""
    return x.shape, x.stride(), x.dtype, x.device, torch.are_deterministic_algorithms_enabled()
