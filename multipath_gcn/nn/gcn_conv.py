import torch
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.nn.inits import zeros
from torch_geometric.typing import Adj, OptTensor

from multipath_gcn.graph import Graph
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
        in_channels: width of the input, or -1 to take it from the first input seen.
        out_channels: width of the output.
        bias: whether to add a learned bias.
        aggr: ``"add"``, ``"mean"`` or ``"max"`` over the messages :math:`\hat{A}_{ij} x_j W^{\top}`.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F_{in})`, dense or ``torch.sparse_csr``,
          edge indices :math:`(2, |\mathcal{E}|)` or another adjacency form,
          edge weights :math:`(|\mathcal{E}|)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, F_{out})`

    Raises:
        ValueError: for an unknown ``aggr``, a pair as ``x``, or an adjacency that does not fit ``x``.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True, aggr: str = "add"):
        super().__init__()
        if aggr not in _REDUCE:
            raise ValueError(f"aggr must be one of {sorted(_REDUCE)}, got {aggr!r}")
        self.in_channels, self.out_channels, self.aggr = in_channels, out_channels, aggr
        self.lin = Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.lin.reset_parameters()
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj | Graph, edge_weight: OptTensor = None) -> Tensor:
        if isinstance(x, (tuple, list)):
            raise ValueError(f"x must be one tensor of node features, got a {type(x).__name__} of {len(x)}")
        graph = Graph.normalized(edge_index, edge_weight, num_nodes=x.size(-2), dtype=x.dtype)
        reduce = _REDUCE[self.aggr]
        if reduce != "max" and x.size(-1) < self.out_channels and x.layout is torch.strided:
            y = self.lin(propagate(graph, x, reduce))
        else:
            y = propagate(graph, linear(x, self.lin), reduce)
        return y if self.bias is None else y + self.bias

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels})"
