"""Convolution in groups of different width that read channels of their own choice, for inference."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.conv_geometry import Padding, Pair, out_size
from multipath_gcn.ops.conv_geometry import DTYPES, geometry_of, options_of
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.packed_conv2d import MOST_PLANS, as_packed, check_call
from multipath_gcn.ops.reference.channel_transform import memory_format

UNEVEN = OPS.uneven_conv2d.default


class PackedUnevenConv2d:
    r"""Convolutions side by side as one operator: a function of images, for inference.

    .. math::
        y_{n, o_g(k)} = \phi\Big(b_{o_g(k)} + r_{n, o_g(k)} +
            \sum_{c < |S_g|} W_{g, k, c} \star x_{n, S_g(c)}\Big)

    Holds copies. On the CPU one kernel copies an image once, whatever groups read it; elsewhere groups are convolutions
    of PyTorch, one by one.

    Args:
        weights: for every group :math:`W_g` (filters, channels, R, S), of one type and device.
        inputs: for every group the channels :math:`S_g` of x that the columns of its weight read.
        outputs: for every group the places :math:`o_g` of its filters in the output; all of them a permutation.
        bias: (filters of all groups), in the order of the output, or None.
        stride, padding, dilation: as in :func:`grouped_conv2d`.
        activation: :math:`\phi`: None or ``"relu"``.

    Raises:
        ValueError: for arguments that do not fit.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        inputs: Sequence[Sequence[int]],
        outputs: Sequence[Sequence[int]],
        bias: Tensor | None = None,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        activation: str | None = None,
    ):
        if activation not in (None, "relu"):
            raise ValueError(f'activation must be None or "relu", got {activation!r}')
        _check(weights, inputs, outputs, bias)
        first = weights[0]
        self.dtype, self.device, self.relu = first.dtype, first.device, activation is not None
        self.filters, self.arguments = sum(map(len, weights)), (stride, padding, dilation, 1)
        self.least_channels = 1 + max(chain.from_iterable(inputs))
        shape = torch.Size([self.filters, self.least_channels, *first.shape[2:]])
        self.of = options_of(shape, *self.arguments)
        wide = torch.promote_types(first.dtype, torch.float32)
        self.weight = torch.cat([weight.detach().to(wide).flatten() for weight in weights])
        self.bias = None if bias is None else bias.detach().to(wide, copy=True).contiguous()
        self.layout = torch.tensor(
            [
                *first.shape[2:], *self.of.stride, *self.of.sides, *self.of.dilation, self.relu, len(weights),
                *chain.from_iterable((len(weight), weight.size(1)) for weight in weights),
                *chain.from_iterable(chain(i, o) for i, o in zip(inputs, outputs, strict=True)),
            ]
        )  # fmt: skip
        numbers = (torch.tensor(list(channels), device=first.device) for channels in inputs)
        self.groups = list(zip(_views(self.weight, weights), numbers, strict=True))
        self.order = torch.tensor(list(chain.from_iterable(outputs)), device=first.device).argsort()
        self._known: dict[torch.Size, list[int]] = {}  # the shape of the output, by that of x

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """The convolution of images (N, C, H, W) or (C, H, W), of the type and on the device of the weights.

        Args:
            residual: of the shape of the output, added before the activation.

        Raises:
            ValueError: when ``x`` or ``residual`` does not fit, or requires a gradient.
        """
        x = self._taken("x", x)
        wanted = self._known.get(x.shape) or self._planned(x)
        if residual is not None:
            residual = self._taken("residual", residual)
            if list(residual.shape) != wanted:
                raise ValueError(f"residual must have the shape of the output, {wanted}, got {list(residual.shape)}")
        if x.dim() == 3:
            return self(x.unsqueeze(0), None if residual is None else residual.unsqueeze(0)).squeeze(0)
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return self._one_by_one(x, residual)
        return UNEVEN(x, self.weight, self.layout, self.bias, residual)

    def _taken(self, name: str, tensor: Tensor) -> Tensor:
        check_call(name, tensor)
        return tensor if tensor.dtype is self.dtype and tensor.device == self.device else as_packed(name, tensor, self)

    def _planned(self, x: Tensor) -> list[int]:
        if x.dim() in (3, 4) and x.size(-3) < self.least_channels:
            raise ValueError(f"x must have at least {self.least_channels} channels, got {list(x.shape)}")
        kernel = self.groups[0][0].shape[2:]
        channels = x.size(-3) if x.dim() > 2 else 0
        of = geometry_of(x.shape, torch.Size([self.filters, channels, *kernel]), *self.arguments)
        wanted = [*x.shape[:-3], self.filters, *out_size(x.shape[-2:], kernel, of)]
        if not torch.compiler.is_compiling():
            if len(self._known) == MOST_PLANS:
                self._known.clear()
            self._known[x.shape] = wanted
        return wanted

    def _one_by_one(self, x: Tensor, residual: Tensor | None) -> Tensor:
        top, bottom, left, right = self.of.sides
        padded = F.pad(x, (left, right, top, bottom))
        geometry = self.of.stride, 0, self.of.dilation
        parts = [F.conv2d(padded[:, at], weight.to(x.dtype), None, *geometry) for weight, at in self.groups]
        y = torch.cat(parts, 1)[:, self.order]
        y = y if self.bias is None else y + self.bias.to(x.dtype)[:, None, None]
        y = y if residual is None else y + residual
        return (y.relu() if self.relu else y).contiguous(memory_format=memory_format(x, 1))

    def __deepcopy__(self, memo) -> "PackedUnevenConv2d":
        return self

    def __repr__(self) -> str:
        stride, padding, dilation, _ = self.arguments
        return (
            f"{type(self).__name__}({len(self.groups)} groups, {self.filters} filters, "
            f"kernel_size={tuple(self.groups[0][0].shape[2:])}, stride={stride}, padding={padding}, "
            f"dilation={dilation}, activation={'relu' if self.relu else None})"
        )


def _views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.split([weight.numel() for weight in like])
    return [part.view(weight.shape) for part, weight in zip(parts, like, strict=True)]


def _check(weights, inputs, outputs, bias) -> None:
    if not weights or not len(weights) == len(inputs) == len(outputs):
        found = f"{len(weights)}, {len(inputs)} and {len(outputs)}"
        raise ValueError(f"weights, inputs and outputs must have the same length, at least 1, got {found}")
    first = weights[0]
    if first.dtype not in DTYPES and not (first.dtype is torch.float16 and first.is_cuda):
        raise ValueError(f"weights must be of type float32, float64 or bfloat16, got {first.dtype}")
    for g, (weight, channels, places) in enumerate(zip(weights, inputs, outputs, strict=True)):
        if (weight.dtype, weight.device, weight.shape[2:]) != (first.dtype, first.device, first.shape[2:]):
            found = f"{list(weight.shape)} of {weight.dtype} on {weight.device}"
            raise ValueError(f"weights must be of one type, device and kernel size, group {g} has {found}")
        if list(weight.shape[:2]) != [len(places), len(channels)] or 0 in weight.shape:
            wanted = f"[{len(places)}, {len(channels)}, R, S]"
            raise ValueError(f"weight of group {g} must be {wanted} without 0, got {list(weight.shape)}")
        if min(channels) < 0:
            raise ValueError(f"inputs must be numbers of channels, group {g} reads {list(channels)}")
    total = sum(map(len, weights))
    if sorted(chain.from_iterable(outputs)) != list(range(total)):
        raise ValueError(f"outputs must be a permutation of 0..{total - 1}, got {[list(o) for o in outputs]}")
    if bias is not None and (bias.shape, bias.dtype, bias.device) != ((total,), first.dtype, first.device):
        wanted, found = f"[{total}] of {first.dtype} on {first.device}", f"{list(bias.shape)} of {bias.dtype}"
        raise ValueError(f"bias must be {wanted}, got {found} on {bias.device}")
