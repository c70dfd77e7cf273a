"""What a network makes of its paths' outputs, taken in one path after the other.

Sums, means and concatenations go through a linear readout at once, so that only scores [N, T] are held. The greatest
and the attention-weighted sum are kept as they stand, the latter beside the running softmax's maximum and sum per node.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.nn.gcn_conv import GCNConv
from multipath_gcn.ops.features import Features, is_sparse

ROWS = 8192  # of a tile of rows
LINEAR = ("sum", "mean", "concat")


def row_tiles(rows: int) -> Iterator[slice]:
    return (slice(begin, begin + ROWS) for begin in range(0, rows, ROWS))


def dense_rows(x: Features, tile: slice) -> Tensor:
    if not is_sparse(x):
        return x[tile]
    return x.take(torch.arange(*tile.indices(x.shape[0]), device=x.device)).to_dense()


class PathSum:
    def __init__(self, model, nodes: int, options: dict):
        self.model, self.is_gcn = model, isinstance(model.readout, GCNConv)
        lin = model.readout.lin if self.is_gcn else model.readout
        self.weight, self.bias = lin.weight, model.readout.bias
        self.result = torch.zeros(nodes, model.out_channels, **options)
        self.taken = 0
        if model.combine not in LINEAR:
            self.held = torch.zeros(nodes, self.weight.size(1), **options)
        if model.combine == "attention":
            self.most = torch.full((nodes, 1), -torch.inf, **options)
            self.sum = torch.zeros(nodes, 1, **options)

    @staticmethod
    def columns(model) -> int:
        """Columns of nodes that are held."""
        widest = max(path[-1] if path else model.width_of_paths_input for path in model.path_widths)
        return model.out_channels + {"max": widest, "attention": widest + 2}.get(model.combine, 0)

    def add(self, i: int, output: Features) -> None:
        """The output of path i, in the first columns of a tensor."""
        widths = [path[-1] if path else self.model.width_of_paths_input for path in self.model.path_widths]
        begin, end = (sum(widths[:i]), sum(widths[: i + 1])) if self.model.combine == "concat" else (0, widths[i])
        for tile in row_tiles(output.shape[0]):
            self._add(tile, dense_rows(output, tile)[:, : widths[i]], self.weight[:, begin:end])
        self.taken += 1

    def _add(self, tile: slice, rows: Tensor, weight: Tensor) -> None:
        if self.model.combine in LINEAR:
            scale = 1 / len(self.model.paths) if self.model.combine == "mean" else 1
            self.result[tile].add_(F.linear(rows, weight), alpha=scale)
        elif self.model.combine == "max":
            self.held[tile] = rows if self.taken == 0 else torch.maximum(self.held[tile], rows)
        else:
            score = self.model.attention(rows)
            most = torch.maximum(self.most[tile], score)
            old, new = (self.most[tile] - most).exp(), (score - most).exp()
            self.held[tile] = self.held[tile] * old + rows * new
            self.sum[tile] = self.sum[tile] * old + new
            self.most[tile] = most

    def scores(self, propagate_in_place: Callable[[Tensor], None]) -> Tensor:
        if self.model.combine not in LINEAR:
            for tile in row_tiles(self.result.size(0)):
                rows = self.held[tile] / self.sum[tile] if self.model.combine == "attention" else self.held[tile]
                self.result[tile] = F.linear(rows, self.weight)
        if self.is_gcn:
            propagate_in_place(self.result)
        return self.result if self.bias is None else self.result.add_(self.bias)
