"""Several layers of one input, computed as one.

Layers of different inputs stay apart: laying the inputs side by side costs a pass over them. Two grouped layers of 256
channels on 20,000 nodes took 1.2 to 1.5 times as long in a training step when joined so, on a few thousand nodes of
64 channels 3 to 5 % less; a sliding window that wraps inside its own input could not be joined at all. Nor are the
transforms of one large input joined that is propagated before them: they share the propagation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.graph import Graph
from multipath_gcn.nn.channel import ChannelLinear
from multipath_gcn.nn.convolve import REDUCE, JoinedTransform, aggregates_first, convolve, product_of
from multipath_gcn.nn.gcn_block import GCNBlock
from multipath_gcn.nn.gcn_conv import GCNConv
from multipath_gcn.nn.hooks import hooked
from multipath_gcn.ops import ChannelWindows
from multipath_gcn.ops.features import Features, is_sparse

LARGE = 2**23  # values; from here on the joined gradients' pass through memory costs more than a call saves


class Together:
    """Calls layers on one input by one propagation and, if it is not large, one transform with all their filters.

    The layers keep their parameters and are given with every call; what this remembers is their joined windows.
    """

    def __init__(self, blocks: Sequence[GCNBlock] = ()):
        self.parts: tuple[ChannelWindows, ...] = ()
        self.windows: ChannelWindows | None = None
        if _are_alike(blocks) and isinstance(blocks[0].conv.lin, ChannelLinear):
            self._joined(blocks)  # now, so that torch.compile need not trace it

    def __call__(self, blocks: Sequence[GCNBlock], x: Features, graph: Graph) -> tuple[Tensor, ...] | None:
        """What comes before the skip of every layer, or ``None`` where it is not computed so.

        That is for layers of different kinds, hooks that expect to be called, and sparse ``x``.
        """
        if len(blocks) < 2 or is_sparse(x) or not _are_alike(blocks):
            return None
        convs, reduce = [block.conv for block in blocks], REDUCE[blocks[0].conv.aggr]
        if x.numel() >= LARGE and aggregates_first(x, sum(conv.out_channels for conv in convs), reduce):
            product = product_of(graph, x, reduce)
            return tuple(block.conv.after(graph, product, block.activation, block.active_dropout) for block in blocks)
        joined = JoinedTransform(torch.cat([conv.lin.weight for conv in convs]), self._joined(blocks))
        bias = torch.cat([conv.bias for conv in convs])
        first = blocks[0]
        y = convolve(graph, x, joined, bias, first.conv.aggr, first.activation, first.active_dropout)
        # Plain split forbids what an activation may do: to write into its input.
        return y.unsafe_split_with_sizes([conv.out_channels for conv in convs], dim=-1)

    def _joined(self, blocks: Sequence[GCNBlock]) -> ChannelWindows | None:
        lins = [block.conv.lin for block in blocks]
        if not isinstance(lins[0], ChannelLinear):
            return None  # dense
        parts = tuple(lin.windows for lin in lins)
        if parts != self.parts:
            start = [start for part in parts for start in part.start.tolist()]
            self.parts, self.windows = parts, ChannelWindows(start, parts[0].width, parts[0].in_channels)
        return self.windows


def _are_alike(blocks: Sequence[GCNBlock]) -> bool:
    kinds = [_kind(block) for block in blocks]
    return bool(kinds) and kinds[0] is not None and kinds.count(kinds[0]) == len(kinds)


def _kind(block: GCNBlock) -> tuple | None:
    """What layers must have in common to be computed together, or ``None`` for one that must be called itself."""
    conv, lin = block.conv, block.conv.lin
    if type(conv) is not GCNConv or conv.is_watched() or not block.is_one_kernel():
        return None
    if conv.bias is None or lin.bias is not None:
        return None
    if type(lin).forward not in (Linear.forward, ChannelLinear.forward) or any(map(hooked, (block, conv, lin))):
        return None
    after = conv.aggr, block.activation, block.active_dropout
    if isinstance(lin, ChannelLinear):
        return *after, lin.windows.width, lin.windows.in_channels
    return *after, conv.in_channels
