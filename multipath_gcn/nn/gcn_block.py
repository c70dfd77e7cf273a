import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch_geometric.nn.resolver import activation_resolver

from multipath_gcn.graph import Graph
from multipath_gcn.nn.gcn_conv import GCNConv
from multipath_gcn.nn.hooks import hooked
from multipath_gcn.ops import activate, combine
from multipath_gcn.ops.features import Features, is_sparse, width

_NORM = {None: lambda width: nn.Identity(), "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
_IN_KERNELS = {nn.ReLU: "relu", nn.Identity: None}  # activations that are part of a store


class GCNBlock(nn.Module):
    r"""One layer of a path: convolution, normalisation, activation, dropout and, on request, a skip connection.

    .. math::
        Y = \mathrm{dropout}(\sigma(\mathrm{norm}(\hat{A} X W^{\top} + b))) \; [\, + X \,]

    ReLU and dropout are part of the convolution's store, or one pass after a norm.

    Args:
        in_channels, out_channels: widths; ``in_channels`` may be -1.
        dropout: probability in [0, 1) of zeroing an output value in training.
        norm: ``None``, ``"batch"`` or ``"layer"``, over the features of a node.
        residual: adds the input where its width equals the output's.
        act: an activation by name or as callable, as PyG resolves it; ``None`` for none.
        conv: ``aggr``, ``transform``, ``groups``, ``overlap`` of :class:`GCNConv`.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F_{in})` and a :class:`~multipath_gcn.graph.Graph`
        - **output:** node features :math:`(|\mathcal{V}|, F_{out})`
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dropout: float = 0.0,
        norm: str | None = None,
        residual: bool = False,
        act: str | Callable[..., Any] | None = "relu",
        **conv: Any,
    ):
        super().__init__()
        if norm not in _NORM:
            raise ValueError(f"norm must be one of {list(_NORM)}, got {norm!r}")
        if not isinstance(dropout, (int, float)) or not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout!r}")
        self.conv = GCNConv(in_channels, out_channels, **conv)
        self.norm = _NORM[norm](out_channels)
        # A copy: a module given as `act` may have parameters, which layers must not share.
        self.act = nn.Identity() if act is None else copy.deepcopy(activation_resolver(act))
        self.dropout, self.residual = dropout, residual

    def reset_parameters(self) -> None:
        self.conv.reset_parameters()
        for part in (self.norm, self.act):
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()

    def forward(self, x: Features | None, graph: Graph, before_skip: Tensor | None = None) -> Tensor:
        """``before_skip`` is what comes before the skip connection, where that is known already; without
        a skip connection ``x`` may then be ``None``.
        """
        if self.conv.explain:
            raise ValueError("an explanation needs layers called with edges (GCNConv), got one called with a Graph")
        y = before_skip
        if y is None and self.is_one_kernel() and not hooked(self.conv) and not self.conv.is_watched():
            y = self.conv.activated(x, graph, self.activation, self.active_dropout)
        elif y is None:
            y = self.conv(x, graph)
            y = self.norm(y.flatten(0, -2)).view_as(y)  # BatchNorm1d takes dimension 1 for the channels
            if type(self.act) in _IN_KERNELS and not hooked(self.act):
                y = activate(y, None, self.activation, self.active_dropout)
            else:
                y = activate(self.act(y), None, None, self.active_dropout)
        if not self.residual or width(x) != width(y):
            return y
        return combine([x.to_dense() if is_sparse(x) else x, y])

    def is_one_kernel(self) -> bool:
        """Whether what follows the convolution is part of its store."""
        parts = self.norm, self.act
        return type(self.norm) is nn.Identity and type(self.act) in _IN_KERNELS and not any(map(hooked, parts))

    @property
    def activation(self) -> str | None:
        return _IN_KERNELS.get(type(self.act))

    @property
    def active_dropout(self) -> float:
        return float(self.dropout) if self.training else 0.0
