"""Several graph convolutions of one input, computed as one.

Layers of different inputs stay apart: laying the inputs side by side costs a pass over them. Two grouped layers of 256
channels on 20,000 nodes took 1.2 to 1.5 times as long in a training step when joined so, on a few thousand nodes of
64 channels 3 to 5 % less; a sliding window that wraps inside its own input could not be joined at all.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.graph import Graph
from multipath_gcn.nn.channel import ChannelLinear
from multipath_gcn.nn.gcn_conv import GCNConv, convolve
from multipath_gcn.ops import ChannelWindows, channel_transform


class Together:
    """Calls layers on one input by one transform, with the filters of all of them, and one propagation.

    The layers keep their parameters and are given with every call; what this remembers is their joined windows.
    """

    def __init__(self, convs: Sequence[nn.Module] = ()):
        self.parts: tuple[ChannelWindows, ...] = ()
        self.windows: ChannelWindows | None = None
        if _are_alike(convs) and isinstance(convs[0].lin, ChannelLinear):
            self._joined(convs)  # now, so that torch.compile need not trace it

    def __call__(self, convs: Sequence[nn.Module], x: Tensor, graph: Graph) -> tuple[Tensor, ...] | None:
        """``conv(x, graph)`` of every layer, or ``None`` where that would not be the same.

        Nor is it for layers of different kinds, hooks that expect to be called, and sparse ``x``.
        """
        if len(convs) < 2 or x.layout is not torch.strided or not _are_alike(convs):
            return None
        weight = torch.cat([conv.lin.weight for conv in convs])
        bias = torch.cat([conv.bias for conv in convs])
        if isinstance(convs[0].lin, ChannelLinear):
            transform = partial(channel_transform, weight=weight, windows=self._joined(convs))
        else:
            transform = partial(F.linear, weight=weight)
        y = convolve(graph, x, transform, weight.size(0), bias, convs[0].aggr)
        # Plain split forbids what an activation may do: to write into its input.
        return y.unsafe_split_with_sizes([conv.out_channels for conv in convs], dim=-1)

    def _joined(self, convs: Sequence[nn.Module]) -> ChannelWindows:
        parts = tuple(conv.lin.windows for conv in convs)
        if parts != self.parts:
            start = [start for part in parts for start in part.start.tolist()]
            self.parts, self.windows = parts, ChannelWindows(start, parts[0].width, parts[0].in_channels)
        return self.windows


def _are_alike(convs: Sequence[nn.Module]) -> bool:
    kinds = [_kind(conv) for conv in convs]
    return bool(kinds) and kinds[0] is not None and kinds.count(kinds[0]) == len(kinds)


def _kind(conv: nn.Module) -> tuple | None:
    """What layers must have in common to be computed together, or ``None`` for one that must be called itself."""
    if type(conv) is not GCNConv or conv.bias is None or conv.lin.bias is not None:
        return None
    if type(conv.lin).forward not in (Linear.forward, ChannelLinear.forward) or _hooked(conv) or _hooked(conv.lin):
        return None
    if isinstance(conv.lin, ChannelLinear):
        return conv.aggr, conv.lin.windows.width, conv.lin.windows.in_channels
    return conv.aggr, conv.in_channels


def _hooked(module: nn.Module) -> bool:
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(map(len, hooks))
