"""What layers of uneven groups have in common: which channels a group reads, its weight, the order of the outputs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class UnevenGroups(nn.Module):
    """Parameters and state dict of :class:`UnevenGroupedConv2d` and :class:`UnevenGroupedLinear`.

    Args:
        inputs, filters, bias, device, dtype, order: see there.
        kernel: the dimensions of a weight that follow its filters and channels.
    """

    def __init__(
        self,
        inputs: Sequence[Sequence[int]],
        filters: Sequence[int],
        kernel: tuple[int, ...],
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        order: Sequence[int] | None,
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
        self.inputs, self.filters = [list(channels) for channels in inputs], list(filters)
        for g, (channels, count) in enumerate(zip(inputs, filters, strict=True)):
            weight = torch.empty(count, len(channels), *kernel, device=device, dtype=dtype)
            self.register_parameter(f"weight{g}", nn.Parameter(weight))
        self.bias = nn.Parameter(torch.empty(sum(filters), device=device, dtype=dtype)) if bias else None
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
    def in_channels(self) -> int:
        """The least number of channels that has all that are read."""
        return 1 + max(map(max, self.inputs))

    @property
    def out_channels(self) -> int:
        return sum(self.filters)

    def reset_parameters(self) -> None:
        """As :class:`torch.nn.Conv2d` and :class:`torch.nn.Linear` do, group by group."""
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

    def read_by(self, g: int, x: Tensor, dim: int) -> Tensor:
        """The channels of group g."""
        channels = self.inputs[g]
        if _is_run(channels):
            return x.narrow(dim, channels[0], len(channels))
        return x.index_select(dim, getattr(self, f"channels{g}"))

    def joined(self, parts: Sequence[Tensor], dim: int) -> Tensor:
        """What the groups give, as one, in the order of the outputs."""
        y = torch.cat(parts, dim)
        return y if self.order is None else y.index_select(dim, self.order)

    def extra_repr(self) -> str:
        groups = ", ".join(
            f"{len(channels)} -> {count}" for channels, count in zip(self.inputs, self.filters, strict=True)
        )
        order = "" if self.order is None else ", outputs in an order of their own"
        return f"{groups}{self._kernel_repr()}, bias={self.bias is not None}{order}"

    def _kernel_repr(self) -> str:
        return ""


def _is_run(channels: list[int]) -> bool:
    return channels == list(range(channels[0], channels[0] + len(channels)))
