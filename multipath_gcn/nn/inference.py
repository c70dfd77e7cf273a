"""Inference of a multipath network in a stated amount of memory.

Every layer works in place. A propagation treats the columns of its input one by one, so a tile of columns can be
propagated and written back over itself; a transform treats the rows one by one, so tiles of rows can be written over
themselves. What a path of any depth takes is one tensor of nodes and its widest layer, and a tile of columns.
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.graph import Graph
from multipath_gcn.nn.convolve import REDUCE, LinearTransform
from multipath_gcn.nn.gcn_block import GCNBlock
from multipath_gcn.nn.gcn_conv import GCNConv
from multipath_gcn.nn.hooks import hooked
from multipath_gcn.nn.path_sum import ROWS, PathSum, dense_rows, row_tiles
from multipath_gcn.ops import propagate
from multipath_gcn.ops.features import Features, is_sparse, width

LEAST_COLUMNS = 16  # of a tile of columns: a cache line of float32
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@torch.no_grad()
def infer(model, graph: Graph, x: Features, memory_limit: int | str | None = None) -> Tensor:
    """See :meth:`multipath_gcn.nn.MultiPathGCN.inference`; ``graph`` and ``x`` have one order of nodes."""
    _check_hooks(model)
    plan = _Plan(model, x, memory_limit)
    total = PathSum(model, graph.shape[0], plan.options)
    if model.stem:
        work = torch.empty(graph.shape[0], plan.work_width, **plan.options)
        for source, block in zip((x, *[work] * len(model.stem)), model.stem, strict=False):
            _layer(block, source, work, graph, plan.columns)
    else:
        work = x
    _paths(model, work, graph, plan, total)
    return total.scores(lambda scores: _propagate(graph, scores, scores, model.readout.aggr, plan.columns))


def _check_hooks(model) -> None:
    """Layers are computed in parts here, none of which is what a hook expects."""
    readout = model.readout, getattr(model.readout, "lin", None)
    for name, module in model.named_modules():
        whole = module in readout or isinstance(module, GCNBlock | GCNConv)
        if whole and (hooked(module) or (isinstance(module, GCNConv) and module.is_watched())):
            raise ValueError(f"inference needs layers without hooks, which it would not call, got one on {name}")


def _paths(model, source: Features, graph: Graph, plan: "_Plan", total: PathSum) -> None:
    """The last path works where its input lies, if that is ours."""
    order = [i for i, widths in enumerate(model.path_widths) if not widths] + plan.by_width
    propagated = False
    for i in order:
        path = model.paths[i]
        if plan.shares and len(path) and not propagated:
            read = source[:, : plan.stem_width]
            _propagate(graph, read, read, path[0].conv.aggr, plan.columns)
            propagated = True
        if not len(path):
            total.add(i, source)
            continue
        own = bool(model.stem) and i == order[-1]
        work = source if own else torch.empty(graph.shape[0], plan.path_width(i), **plan.options)
        _layer(path[0], source, work, graph, plan.columns, propagated)
        for block in path[1:]:
            _layer(block, work, work, graph, plan.columns)
        total.add(i, work)
        del work


def _layer(
    block: GCNBlock, source: Features, target: Tensor, graph: Graph, columns: int, propagated: bool = False
) -> None:
    """target[:, :O] = block(source[:, :I]); target may be source."""
    conv = block.conv
    i, o = _widths(block, source)
    transform = LinearTransform(conv.lin, o)

    def finish(rows: Tensor) -> Tensor:
        rows = rows if conv.bias is None else rows + conv.bias.to(rows.dtype)
        return block.act(block.norm(rows))

    skip = None
    if block.residual and i == o:
        skip = source.to_dense() if is_sparse(source) else source[:, :i].clone()
    source = source if is_sparse(source) else source[:, :i]
    if is_sparse(source) and (parts := transform.parts(source)) and parts[1] is None:
        _sparse_transform(source, parts[0], target, columns)
        _propagate(graph, target[:, :o], target[:, :o], conv.aggr, columns)
        _rows(target[:, :o], target[:, :o], finish)
    elif propagated:
        _rows(source, target[:, :o], lambda rows: finish(transform(rows)))
    elif not is_sparse(source) and i < o and REDUCE[conv.aggr] in ("sum", "mean"):
        _propagate(graph, source, target[:, :i], conv.aggr, columns)
        _rows(target[:, :i], target[:, :o], lambda rows: finish(transform(rows)))
    else:
        _rows(source, target[:, :o], transform)
        _propagate(graph, target[:, :o], target[:, :o], conv.aggr, columns)
        _rows(target[:, :o], target[:, :o], finish)
    if skip is not None:
        target[:, :o].add_(skip)


def _widths(block: GCNBlock, source: Features) -> tuple[int, int]:
    known = block.conv.in_channels
    return width(source) if known == -1 else known, block.conv.out_channels


def _propagate(graph: Graph, source: Tensor, target: Tensor, aggr: str, columns: int) -> None:
    for begin in range(0, source.size(1), columns):
        tile = slice(begin, begin + columns)
        target[:, tile] = propagate(graph, source[:, tile], REDUCE[aggr])


def _sparse_transform(source: Graph, weight: Tensor, target: Tensor, columns: int) -> None:
    for begin in range(0, weight.size(0), columns):
        tile = weight[begin : begin + columns]
        target[:, begin : begin + tile.size(0)] = propagate(source, tile.t())


def _rows(source: Features, target: Tensor, call: Callable[[Tensor], Tensor]) -> None:
    for tile in row_tiles(source.shape[0]):
        target[tile] = call(dense_rows(source, tile))


class _Plan:
    """What is allocated, and how many columns a tile may have."""

    def __init__(self, model, x: Features, memory_limit: int | str | None):
        weight = model.readout.lin.weight if isinstance(model.readout, GCNConv) else model.readout.weight
        self.model, self.options = model, {"dtype": weight.dtype, "device": weight.device}
        self.in_channels = width(x)
        self._check(x)
        self.stem_width = max((block.conv.out_channels for block in model.stem), default=0)
        self.shares = self._shares()
        last = self.by_width[-1:]
        self.work_width = max([self.stem_width, *map(self.path_width, last)]) if model.stem else 0
        nodes, size = x.shape[0], weight.element_size()
        widest = max(self.in_channels if not is_sparse(x) else 0, *self._every_width())
        row_tile = 4 * min(ROWS, nodes) * max(widest, self.in_channels if self._densifies() else 0) * size
        fixed = nodes * size * self._columns_held() + row_tile
        if memory_limit is None:
            self.columns = widest
            return
        limit = _bytes(memory_limit)
        least = fixed + nodes * size * min(LEAST_COLUMNS, widest)
        if limit < least:
            raise ValueError(
                f"memory_limit must be at least {least} bytes ({least / 1e9:.3g} GB) here, got {memory_limit!r}"
            )
        columns = int((limit - fixed) // max(1, nodes * size)) // LEAST_COLUMNS * LEAST_COLUMNS
        self.columns = min(max(columns, LEAST_COLUMNS), widest)

    def _check(self, x: Features) -> None:
        known, dtype = self.model.in_channels, self.options["dtype"]
        if known not in (-1, self.in_channels):
            raise ValueError(f"x must have {known} channels, got shape {list(x.shape)}")
        if not is_sparse(x) and x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
            raise ValueError(f"x must be of the type of the parameters ({dtype}), got {x.dtype}")

    @property
    def by_width(self) -> list[int]:
        """The paths that have layers, the widest last: where there is a stem, it works in the stem's memory."""
        widths = self.model.path_widths
        return sorted((i for i in range(len(widths)) if widths[i]), key=lambda i: max(widths[i]))

    def _every_width(self) -> list[int]:
        return [self.stem_width, self.model.out_channels, *(w for path in self.model.path_widths for w in path)]

    def path_width(self, i: int) -> int:
        """Columns of the tensor that path i works in."""
        widths, source = self.model.path_widths[i], self.stem_width or self.in_channels
        before = source if not self.shares and source < widths[0] else 0
        return max(before, *widths)

    def _columns_held(self) -> int:
        """Columns of nodes at the peak, without the tile."""
        model, held = self.model, self.work_width
        real = self.by_width[: -1 if model.stem else None]
        held += max((self.path_width(i) for i in real), default=0)
        blocks = [*model.stem, *(block for path in model.paths for block in path)]
        skips = [block.conv.out_channels for block in blocks if block.residual]
        return held + max(skips, default=0) + PathSum.columns(model)

    def _densifies(self) -> bool:
        """Whether rows of sparse features are laid out for what reads them: a window, or the combination."""
        readers = [self.model.stem[:1]] if self.model.stem else self.model.paths
        return not all(len(blocks) and isinstance(blocks[0].conv.lin, Linear) for blocks in readers)

    def _shares(self) -> bool:
        """Whether the input of the paths is propagated once for all."""
        first = [path[0] for path in self.model.paths if len(path)]
        if not self.model.stem or len(first) < 1 or any(block.residual for block in first):
            return False
        linear = all(REDUCE[block.conv.aggr] in ("sum", "mean") for block in first)
        return linear and sum(block.conv.out_channels for block in first) > self.stem_width


def _bytes(limit: int | str) -> int:
    if isinstance(limit, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", limit)
        if found and found[2].upper() in _UNITS:
            return int(float(found[1]) * _UNITS[found[2].upper()])
    elif isinstance(limit, (int, float)) and not isinstance(limit, bool) and 0 < limit < float("inf"):
        return int(limit)
    raise ValueError(f'memory_limit must be a number of bytes above 0 or a string such as "6 GB", got {limit!r}')
