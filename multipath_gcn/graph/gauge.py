r"""Sums over neighbours on an oriented surface: what lies between features and weights of a gauge-equivariant layer.

A feature of order L at a vertex is a real number and L complex ones, :math:`x = (x^0, x^1, \dots, x^L)`, laid out as
2L+1 real components, x^0, Re x^1, Im x^1 and so on; :math:`\rho(\alpha)` multiplies :math:`x^m` by
:math:`e^{im\alpha}`. Neighbour q of p is seen from p at the angle :math:`\theta_{pq}`, and parallel transport to p
turns by :math:`g_{pq}`. In

    y[p] = sum_q w[p] rho_out(theta) K(0) rho_in(g - theta) x[q],    w[p] = 1 / number of neighbours of p

the weights K(0) are the same everywhere, so that the sums may come first: of what is turned to the edge,

    t[e]    = rho_in(g - theta) x[q]                      rows: edge, component        columns: vertex, component
    h[p, k] = sum_e w[p] wave_k(theta[e]) t[e]            rows: vertex, k              columns: edge

k counting the waves 1, cos, sin, cos 2, sin 2 ..., of which rho_out is made: two sparse matrices times rows of
channels, or one operator for both.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.graph.graph import Graph
from multipath_gcn.graph.versions import lasting, versions

_FIXED = ("source", "target", "angle", "transport", "num_nodes")


class GaugeGraph:
    r"""The edges of an oriented surface with what a gauge-equivariant layer needs to know of them.

    Args:
        edge_index: int64 [2, E], source q over target p, each pair once and none from a vertex to itself.
        angle: floating [E], :math:`\theta_{pq}`, at which p sees q, in radians.
        transport: floating [E], :math:`g_{pq}`, by which parallel transport from q to p turns, in radians.
        num_nodes: number of vertices.

    Sums are means: the weight of an edge is 1 over the number of edges that end where it ends. What layers need of
    these arrays is made when one first asks for it, and kept until an array is changed in place, which PyTorch counts.

    Raises:
        ValueError: for tensors that are no such edges.
    """

    def __init__(self, edge_index: Tensor, angle: Tensor, transport: Tensor, num_nodes: int):
        _check(edge_index, angle, transport, num_nodes)
        order = (edge_index[1] * num_nodes + edge_index[0]).argsort()
        self.source, self.target = edge_index[:, order]
        repeated = (self.source[1:] == self.source[:-1]) & (self.target[1:] == self.target[:-1])
        if repeated.any():
            at = int(repeated.nonzero()[0])
            raise ValueError(f"edge_index must hold each edge once, got {_pair(self, at)} repeatedly")
        self.angle, self.transport = angle[order], transport[order]
        self.num_nodes = num_nodes
        self._made: dict[tuple, Any] = {}
        self._made_of = versions(self.source, self.target, self.angle, self.transport)

    @property
    def device(self) -> torch.device:
        return self.source.device

    def to(self, device: torch.device | str) -> "GaugeGraph":
        edge_index = torch.stack([self.source, self.target]).to(device)
        return GaugeGraph(edge_index, self.angle.to(device), self.transport.to(device), self.num_nodes)

    def turned(self, order: int) -> Graph:
        """The first matrix of the head of this file, of shape [E (2 order + 1), N (2 order + 1)]."""
        return self._keep(("turned", order), lambda: self._turned(order))

    def waves(self, order: int, of_vertices: bool = False) -> Graph:
        """The second, of shape [N (2 order + 1), E]; ``of_vertices`` for sums of the features of the sources
        themselves, of shape [N (2 order + 1), N]."""
        return self._keep(("waves", order, of_vertices), lambda: self._waves(order, of_vertices))

    def operands(self, in_order: int, out_order: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """What the operator ``gauge_sums`` takes beside features: turn, wave, the edges by target and by source."""
        return self._keep(("operands", in_order, out_order, dtype), lambda: self._operands(in_order, out_order, dtype))

    def _operands(self, in_order: int, out_order: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        phases = [m * (self.transport - self.angle) for m in range(1, in_order + 1)]
        turn = [torch.stack([phase.cos(), phase.sin()], dim=1) for phase in phases]
        turn = torch.stack(turn, dim=1) if turn else self.angle.new_empty(self.angle.numel(), 0, 2)
        wave = self._share()[:, None] * torch.stack([self._wave(k) for k in range(2 * out_order + 1)], dim=1)
        by_source = self.source.argsort(stable=True)
        rowptr, rowptr_t = (self._rowptr(ends) for ends in (self.target, self.source))
        return turn.to(dtype), wave.to(dtype), rowptr, self.source, rowptr_t, self.target[by_source], by_source

    def _rowptr(self, ends: Tensor) -> Tensor:
        return F.pad(torch.bincount(ends, minlength=self.num_nodes).cumsum(0), (1, 0))

    def _wave(self, k: int) -> Tensor:
        """1, cos, sin, cos 2, sin 2 ... of the angle."""
        phase = (k + 1) // 2 * self.angle
        return phase.cos() if k % 2 or k == 0 else phase.sin()

    def _share(self) -> Tensor:
        """w of every edge."""
        return 1 / torch.bincount(self.target, minlength=self.num_nodes)[self.target].to(self.angle.dtype)

    def _keep(self, key: tuple, make: Callable[[], Any]) -> Any:
        """What ``make`` returns, kept until an array is changed in place; inside a trace only what was there before."""
        now = versions(self.source, self.target, self.angle, self.transport)
        if now is None:
            return self._made[key] if key in self._made else make()
        if now != self._made_of:
            self._made, self._made_of = {}, now
        if key not in self._made:
            self._made[key] = lasting(make)
        return self._made[key]

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            name in _FIXED and name in self.__dict__ and self.__dict__[name] is not value
        ):  # `graph.angle += 1` puts it back
            raise AttributeError(f"{name} of a GaugeGraph cannot be assigned: make another one")
        super().__setattr__(name, value)

    def _turned(self, order: int) -> Graph:
        edges, width = self.source.numel(), 2 * order + 1
        first = (self.source * width)[:, None]
        ones = torch.ones_like(self.angle)
        cols, values, counts = [first], [ones], [1]
        for m in range(1, order + 1):
            phase = m * (self.transport - self.angle)
            cos, sin, pair = phase.cos(), phase.sin(), first + torch.tensor([2 * m - 1, 2 * m], device=self.device)
            cols += [pair, pair]
            values += [cos, -sin, sin, cos]
            counts += [2, 2]
        rowptr = torch.tensor(counts, device=self.device).repeat(edges).cumsum(0)
        shape = edges * width, self.num_nodes * width
        return _matrix(rowptr, torch.cat(cols, dim=1).flatten(), torch.stack(values, dim=1).flatten(), shape)

    def _waves(self, order: int, of_vertices: bool) -> Graph:
        edges, width = self.source.numel(), 2 * order + 1
        degree = torch.bincount(self.target, minlength=self.num_nodes)
        # Edges are sorted by target: row k of vertex p begins after all rows of those before it and its own first k.
        before = degree.cumsum(0) - degree
        number = torch.arange(edges, device=self.device) - before[self.target]
        place = before[self.target] * width + number
        col = torch.empty(edges * width, dtype=torch.int64, device=self.device)
        value = torch.empty(edges * width, dtype=self.angle.dtype, device=self.device)
        share = self._share()
        for k in range(width):
            at = place + k * degree[self.target]
            col[at] = self.source if of_vertices else torch.arange(edges, device=self.device)
            value[at] = share * self._wave(k)
        rowptr = degree.repeat_interleave(width).cumsum(0)
        return _matrix(rowptr, col, value, (self.num_nodes * width, self.num_nodes if of_vertices else edges))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_nodes={self.num_nodes}, num_edges={self.source.numel()})"


def _matrix(row_ends: Tensor, col: Tensor, value: Tensor, shape: tuple[int, int]) -> Graph:
    whole = torch.int32 if max(*shape, col.numel()) < 2**31 else torch.int64
    return Graph(F.pad(row_ends, (1, 0)).to(whole), col.to(whole), value, shape)


def _pair(graph: GaugeGraph, at: int) -> tuple[int, int]:
    return int(graph.source[at]), int(graph.target[at])


def _check(edge_index: Tensor, angle: Tensor, transport: Tensor, num_nodes: int) -> None:
    if edge_index.dtype != torch.int64 or edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must be int64 of shape [2, E], got {edge_index.dtype} {list(edge_index.shape)}")
    for name, values in (("angle", angle), ("transport", transport)):
        if not values.is_floating_point() or values.shape != edge_index.shape[1:]:
            rule = f"be floating of shape [E] = {list(edge_index.shape[1:])}"
            raise ValueError(f"{name} must {rule}, got {values.dtype} {list(values.shape)}")
        if values.requires_grad:
            raise ValueError(f"{name} must not require a gradient: layers have none by the place of vertices")
        if not values.isfinite().all():
            edge = int((~values.isfinite()).nonzero()[0])
            raise ValueError(f"{name} must be finite, got {float(values[edge])} at edge {edge}")
    if edge_index.numel():
        low, high = map(int, edge_index.aminmax())
        if low < 0 or high >= num_nodes:
            raise ValueError(f"edge_index must lie in [0, {num_nodes}), got {low if low < 0 else high}")
    loops = edge_index[0] == edge_index[1]
    if loops.any():
        node = int(edge_index[0][loops][0])
        raise ValueError(f"edge_index must join different vertices, got a loop at vertex {node}")
