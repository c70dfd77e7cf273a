"""Grouped convolution whose groups may differ in width, overlap, and leave channels out."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.nn.fold_norm import fold_norm
from multipath_gcn.nn.packed_conv import PackedUnevenGroupedConv2d
from multipath_gcn.ops import PackedUnevenConv2d


class UnevenGroupedConv2d(nn.Module):
    r"""Convolutions side by side, each of channels of its own choice.

    .. math::
        y = \big[ x_{S_1} * W_1, \dots, x_{S_G} * W_G \big] + b, \qquad W_g : [O_g, |S_g|, k_h, k_w]

    What remains of a grouped convolution of which channels were removed, and the grouped form that
    `SG-CNN <https://arxiv.org/abs/2009.13803>`_ trains. Equal, disjoint groups are :class:`GroupedConv2d`'s, which is
    faster.

    Args:
        inputs: for every group the input channels :math:`S_g` that it reads, in the order of its weight's columns.
        filters: for every group its number of filters :math:`O_g`; they follow each other in the output.
        kernel_size, stride, padding, dilation: as for :class:`torch.nn.Conv2d`, padding with zeros.
        bias, device, dtype: as for :class:`torch.nn.Conv2d`.
        order: for every output channel the number of its filter, counted through all groups; None: as they come.

    Shapes:
        - **input:** :math:`(N, C, H, W)` or :math:`(C, H, W)`, C above every number in ``inputs``
        - **output:** :math:`(N, O, H', W')` or :math:`(O, H', W')`, O the sum of ``filters``

    Raises:
        ValueError: for no groups, a group without channels or filters, lists of different length, or an ``order`` that
            is no permutation of the filters.
    """

    def __init__(
        self,
        inputs: Sequence[Sequence[int]],
        filters: Sequence[int],
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | str | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        order: Sequence[int] | None = None,
    ):
        super().__init__()
        if not inputs or len(inputs) != len(filters):
            raise ValueError(
                f"inputs and filters must have the same length, at least 1, got {len(inputs)} and {len(filters)}"
            )
        if any(len(channels) < 1 or min(channels) < 0 for channels in inputs) or min(filters) < 1:
            raise ValueError(f"every group must have channels and filters, got inputs={inputs}, filters={filters}")
        if order is not None and sorted(order) != list(range(sum(filters))):
            raise ValueError(f"order must be a permutation of 0..{sum(filters) - 1}, got {list(order)}")
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.inputs, self.filters = [list(channels) for channels in inputs], list(filters)
        self.kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        for g, (channels, count) in enumerate(zip(inputs, filters, strict=True)):
            weight = torch.empty(count, len(channels), *self.kernel_size, **factory)
            self.register_parameter(f"weight{g}", nn.Parameter(weight))
        self.bias = nn.Parameter(torch.empty(sum(filters), **factory)) if bias else None
        for g, channels in enumerate(self.inputs):
            if not _is_run(channels):
                self.register_buffer(f"channels{g}", torch.tensor(channels, device=device), persistent=False)
        self.register_buffer("order", None if order is None else torch.tensor(order, device=device), persistent=False)
        self.reset_parameters()

    @property
    def weights(self) -> list[nn.Parameter]:
        """``weight0``, ``weight1``, ... of the groups."""
        return [getattr(self, f"weight{g}") for g in range(len(self.filters))]

    @property
    def out_channels(self) -> int:
        return sum(self.filters)

    def reset_parameters(self) -> None:
        """As :class:`torch.nn.Conv2d` does, group by group."""
        if self.weight0.is_meta:  # there is nothing to fill
            return
        bounds = []
        for weight in self.weights:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            bounds += [1 / math.sqrt(weight[0].numel())] * len(weight)
        if self.bias is not None:
            bound = torch.tensor(bounds)
            bound = (bound if self.order is None else bound[self.order.cpu()]).to(self.bias)
            with torch.no_grad():
                self.bias.uniform_(-1, 1).mul_(bound)

    def forward(self, x: Tensor) -> Tensor:
        geometry = self.stride, self.padding, self.dilation
        parts = [F.conv2d(self._read(x, g), weight, None, *geometry) for g, weight in enumerate(self.weights)]
        y = torch.cat(parts, dim=-3)
        y = y if self.order is None else y.index_select(-3, self.order)
        return y if self.bias is None else y + self.bias[:, None, None]

    def prepack(self, norm: nn.BatchNorm2d | None = None, activation: str | None = None) -> PackedUnevenGroupedConv2d:
        """This layer for inference, with the batch norm and activation that follow it, in one call; see
        :meth:`GroupedConv2d.prepack`.

        Raises:
            ValueError: when ``norm`` does not fit or has no running statistics.
        """
        order = range(self.out_channels) if self.order is None else self.order.tolist()
        place = torch.tensor(order).argsort().split(self.filters)
        weights, bias = self.weights, self.bias
        if norm is not None:
            scale, bias = fold_norm(weights[0].new_ones(self.out_channels, 1, dtype=torch.double), bias, norm)
            scale, bias = scale[:, :, None, None], bias.to(weights[0].dtype)
            weights = [(w * scale[at]).to(w.dtype) for w, at in zip(weights, place, strict=True)]
        geometry = self.stride, self.padding, self.dilation
        outputs = [at.tolist() for at in place]
        return PackedUnevenGroupedConv2d(PackedUnevenConv2d(weights, self.inputs, outputs, bias, *geometry, activation))

    def _read(self, x: Tensor, g: int) -> Tensor:
        channels = self.inputs[g]
        if _is_run(channels):
            return x.narrow(-3, channels[0], len(channels))
        return x.index_select(-3, getattr(self, f"channels{g}"))

    def extra_repr(self) -> str:
        groups = ", ".join(
            f"{len(channels)} -> {count}" for channels, count in zip(self.inputs, self.filters, strict=True)
        )
        order = "" if self.order is None else ", outputs in an order of their own"
        return f"{groups}, kernel_size={self.kernel_size}, stride={self.stride}, bias={self.bias is not None}{order}"


def _is_run(channels: list[int]) -> bool:
    return channels == list(range(channels[0], channels[0] + len(channels)))
