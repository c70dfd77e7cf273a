import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.inits import zeros
from torch_geometric.typing import Adj, OptTensor

from multipath_gcn.graph import Graph
from multipath_gcn.nn.channel import ChannelLinear
from multipath_gcn.nn.transform import build_transform
from multipath_gcn.ops.features import linear
from multipath_gcn.ops.propagate import propagate

_REDUCE = {"add": "sum", "sum": "sum", "mean": "mean", "max": "max"}  # PyG's names -> ours


class GCNConv(nn.Module):
    r"""The graph convolution of `Kipf and Welling <https://arxiv.org/abs/1609.02907>`_.

    .. math::
        Y = \hat{A} X W^{\top} + b, \qquad \hat{A} = D^{-1/2} (A + I) D^{-1/2}

    The same map as :class:`torch_geometric.nn.GCNConv`, with two differences: every form of the same graph gives the
    same result (see :class:`~multipath_gcn.graph.Graph`), and the narrower of :math:`X` and :math:`X W^{\top}` is
    the one that is propagated.

    Args:
        in_channels: width of the input, or -1 to take it from the first input seen (dense only).
        out_channels: width of the output.
        bias: whether to add a learned bias.
        aggr: ``"add"``, ``"mean"`` or ``"max"`` over the messages :math:`\hat{A}_{ij} x_j W^{\top}`.
        transform: what :math:`W` is. ``"dense"``; ``"grouped"``, ``groups`` blocks on the diagonal
            (:class:`~multipath_gcn.nn.GroupedLinear`); or ``"sliding"``, a window of ``in_channels / groups`` channels
            per filter (:class:`~multipath_gcn.nn.SlidingChannelLinear`).
        groups: 2 if ``None``; must be ``None`` for ``"dense"``.
        overlap: of neighbouring windows, 0.5 if ``None``; must be ``None`` unless ``"sliding"``.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F_{in})`, dense or ``torch.sparse_csr``,
          edge indices :math:`(2, |\mathcal{E}|)` or another adjacency form,
          edge weights :math:`(|\mathcal{E}|)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, F_{out})`

    Raises:
        ValueError: for an unknown ``aggr`` or ``transform``, widths that do not fit ``groups``, a pair as ``x``, or an
            adjacency that does not fit ``x``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        aggr: str = "add",
        *,
        transform: str = "dense",
        groups: int | None = None,
        overlap: Any = None,
    ):
        super().__init__()
        if aggr not in _REDUCE:
            raise ValueError(f"aggr must be one of {sorted(_REDUCE)}, got {aggr!r}")
        self.in_channels, self.out_channels, self.aggr = in_channels, out_channels, aggr
        self.lin = build_transform(in_channels, out_channels, transform, groups, overlap)
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if isinstance(self.lin, ChannelLinear):  # Glorot's bound: K inputs per filter, K O / C filters per input
            fans = self.lin.windows.width * (1 + self.out_channels / self.in_channels)
            bound = math.sqrt(6 / fans)
            nn.init.uniform_(self.lin.weight, -bound, bound)
        else:
            self.lin.reset_parameters()
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj | Graph, edge_weight: OptTensor = None) -> Tensor:
        if isinstance(x, (tuple, list)):
            raise ValueError(f"x must be one tensor of node features, got a {type(x).__name__} of {len(x)}")
        graph = Graph.normalized(edge_index, edge_weight, num_nodes=x.size(-2), dtype=x.dtype)
        return convolve(graph, x, self._transform, self.out_channels, self.bias, self.aggr)

    def _transform(self, x: Tensor) -> Tensor:
        return self.lin(x.to_dense()) if isinstance(self.lin, ChannelLinear) else linear(x, self.lin)

    def __repr__(self) -> str:
        lin = f", lin={self.lin}" if isinstance(self.lin, ChannelLinear) else ""
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}{lin})"


def convolve(
    graph: Graph,
    x: Tensor,
    transform: Callable[[Tensor], Tensor],
    out_channels: int,
    bias: Tensor | None,
    aggr: str,
) -> Tensor:
    """``transform`` and propagation in the cheaper order, and the bias; ``out_channels`` is the transform's width."""
    reduce = _REDUCE[aggr]
    if reduce != "max" and x.size(-1) < out_channels and x.layout is torch.strided:
        y = transform(propagate(graph, x, reduce))
    else:
        y = propagate(graph, transform(x), reduce)
    return y if bias is None else y + bias
