import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn.resolver import activation_resolver

from multipath_gcn.graph import Graph
from multipath_gcn.nn.gcn_conv import GCNConv

_NORM = {None: lambda width: nn.Identity(), "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class GCNBlock(nn.Module):
    r"""One layer of a path: convolution, normalisation, activation, dropout and, on request, a skip connection.

    .. math::
        Y = \mathrm{dropout}(\sigma(\mathrm{norm}(\hat{A} X W^{\top} + b))) \; [\, + X \,]

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

    def forward(self, x: Tensor, graph: Graph, convolved: Tensor | None = None) -> Tensor:
        """``convolved`` is ``conv(x, graph)`` where that is known already."""
        y = self.conv(x, graph) if convolved is None else convolved
        y = self.act(self.norm(y.flatten(0, -2)).view_as(y))  # BatchNorm1d takes dimension 1 for the channels
        y = F.dropout(y, self.dropout, self.training)
        return x + y if self.residual and x.size(-1) == y.size(-1) else y
