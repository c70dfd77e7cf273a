import math
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.nn.inits import zeros
from torch_geometric.typing import Adj, OptTensor, SparseTensor

from multipath_gcn.graph import Graph, cache
from multipath_gcn.graph.forms import SPARSE_LAYOUTS
from multipath_gcn.nn.channel import ChannelLinear
from multipath_gcn.nn.convolve import REDUCE, LinearTransform, after, convolve
from multipath_gcn.nn.transform import build_transform
from multipath_gcn.ops.features import Features, is_sparse, num_nodes, read


class GCNConv(MessagePassing):
    r"""The graph convolution of `Kipf and Welling <https://arxiv.org/abs/1609.02907>`_.

    .. math::
        Y = \hat{A} X W^{\top} + b, \qquad \hat{A} = D^{-1/2} (A + I) D^{-1/2}

    In place of :class:`torch_geometric.nn.GCNConv`: the same arguments, the same state dict, the same map on simple
    graphs. It differs where that one surprises:

    - every form of the same graph gives the same result, with loops and parallel edges too
      (see :class:`~multipath_gcn.graph.Graph`);
    - ``edge_weight`` beside an adjacency that carries weights is refused, not ignored;
    - a graph is normalised once for as long as its tensors live unchanged, and another graph is another result, with
      or without ``cached``;
    - whichever of :math:`X` and :math:`X W^{\top}` is cheaper to propagate is the one that is propagated.

    Args:
        in_channels: width of the input, or -1 to take it from the first input seen.
        out_channels: width of the output.
        improved: adds loops of weight 2: :math:`A + 2I`, with and without ``edge_weight``. (PyG's loops have weight 1
            where an ``edge_index`` comes without weights: its ``improved`` does nothing there.)
        cached: has no effect: see above.
        add_self_loops: whether to add the loops; ``None`` means ``normalize``.
        normalize: whether to normalise; otherwise :math:`\hat{A}` is the weighted adjacency as it is given.
        bias: whether to add a learned bias.
        transform: what :math:`W` is. ``"dense"``; ``"grouped"``, ``groups`` blocks on the diagonal
            (:class:`~multipath_gcn.nn.GroupedLinear`); or ``"sliding"``, a window of ``in_channels / groups`` channels
            per filter (:class:`~multipath_gcn.nn.SlidingChannelLinear`).
        groups: 2 if ``None``; must be ``None`` for ``"dense"``.
        overlap: of neighbouring windows, 0.5 if ``None``; must be ``None`` unless ``"sliding"``.
        kwargs: of :class:`torch_geometric.nn.MessagePassing`: ``aggr`` (``"add"``, ``"sum"``, ``"mean"``, ``"max"`` or
            ``"min"`` over the messages :math:`\hat{A}_{ij} x_j W^{\top}`), ``flow``, ``node_dim``.
            ``decomposed_layers`` changes nothing: the kernel works in tiles of columns by itself.

    Explanations, and hooks on propagation, messages or aggregation, take PyG's own way of messages along edges.

    Shapes:
        - **input:** node features :math:`(*, |\mathcal{V}|, F_{in})`, or of two dimensions as ``torch.sparse_csr``,
          edge indices :math:`(2, |\mathcal{E}|)`, sparse matrix :math:`(|\mathcal{V}|, |\mathcal{V}|)` or a
          :class:`~multipath_gcn.graph.Graph`, edge weights :math:`(|\mathcal{E}|)` *(optional)*
        - **output:** node features :math:`(*, |\mathcal{V}|, F_{out})`

    Raises:
        ValueError: for an unknown ``aggr`` or ``transform``, widths that do not fit ``groups``, a pair as ``x``, or an
            adjacency that does not fit ``x``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        improved: bool = False,
        cached: bool = False,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = True,
        *,
        transform: str = "dense",
        groups: int | None = None,
        overlap: Any = None,
        **kwargs: Any,
    ):
        kwargs.setdefault("aggr", "add")
        if kwargs["aggr"] not in REDUCE:
            raise ValueError(f"aggr must be one of {sorted(REDUCE)}, got {kwargs['aggr']!r}")
        super().__init__(**kwargs)
        add_self_loops = normalize if add_self_loops is None else add_self_loops
        if add_self_loops and not normalize:
            raise ValueError("add_self_loops must be False or None with normalize=False, got True")
        if improved and not add_self_loops:
            raise ValueError("improved must be False where no loops are added, got True")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.improved, self.cached, self.add_self_loops, self.normalize = improved, cached, add_self_loops, normalize
        self.lin = build_transform(in_channels, out_channels, transform, groups, overlap)
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if isinstance(self.lin, ChannelLinear):  # Glorot's bound: K inputs per filter, K O / C filters per input
            fans = self.lin.windows.width * (1 + self.out_channels / self.in_channels)
            bound = math.sqrt(6 / fans)
            nn.init.uniform_(self.lin.weight, -bound, bound)
        else:
            self.lin.reset_parameters()
        zeros(self.bias)

    def forward(self, x: Tensor, edge_index: Adj | Graph, edge_weight: OptTensor = None) -> Tensor:
        check_features(x)
        x = read(x) if self.node_dim == -2 or not isinstance(x, Tensor) else x.movedim(self.node_dim, -2)
        if self.is_watched():
            y = self._along_edges(x, edge_index, edge_weight)
        else:
            y = self.activated(x, self.graph(x, edge_index, edge_weight))
        return y if self.node_dim == -2 else y.movedim(-2, self.node_dim)

    def graph(self, x: Features, edge_index: Adj | Graph, edge_weight: OptTensor = None) -> Graph:
        """The matrix that this layer propagates with."""
        reverse = self.flow == "target_to_source" and not isinstance(edge_index, Graph)
        if reverse and (isinstance(edge_index, SparseTensor) or getattr(edge_index, "layout", None) in SPARSE_LAYOUTS):
            raise ValueError("flow must be 'source_to_target' with a sparse adj_t, got 'target_to_source'")
        options = {"num_nodes": num_nodes(x), "reverse": reverse}
        if not self.normalize:
            return cache.from_adjacency(edge_index, edge_weight, **options)
        loops = (2.0 if self.improved else 1.0) if self.add_self_loops else None
        dtype = torch.float32 if isinstance(x, Graph) else x.dtype
        return cache.normalized(edge_index, edge_weight, **options, dtype=dtype, self_loops=loops)

    def activated(self, x: Features, graph: Graph, activation: str | None = None, dropout: float = 0.0) -> Tensor:
        """The convolution, followed by an activation and dropout."""
        transform = LinearTransform(self.lin, self.out_channels)
        return convolve(graph, x, transform, self.bias, self.aggr, activation, dropout)

    def after(self, graph: Graph, product: Tensor, activation: str | None = None, dropout: float = 0.0) -> Tensor:
        """The same where the features have been propagated already."""
        return after(graph, product, LinearTransform(self.lin, self.out_channels), self.bias, activation, dropout)

    def is_watched(self) -> bool:
        """Whether an explanation or a hook expects messages along edges."""
        hooks = (getattr(self, f"_{name}_hooks") for name in _HOOKS)
        return bool(self.explain) or any(map(len, hooks))

    def _along_edges(self, x: Features, edge_index: Adj | Graph, edge_weight: OptTensor) -> Tensor:
        if not isinstance(edge_index, Tensor) or edge_index.layout is not torch.strided:
            graph = self.graph(x, edge_index, edge_weight)
            edge_index, edge_weight = graph.edge_index, graph.value
            if self.flow == "target_to_source":
                edge_index = edge_index.flip(0)
        elif self.normalize:
            if edge_weight is None:  # else PyG's loops would weigh 1 even if improved, and all be float32
                edge_weight = torch.ones(edge_index.size(1), dtype=_weight_type(x), device=edge_index.device)
            options = self.improved, self.add_self_loops, self.flow
            edge_index, edge_weight = gcn_norm(edge_index, edge_weight, num_nodes(x), *options)
        y = LinearTransform(self.lin, self.out_channels)(x)
        # propagate_type: (x: Tensor, edge_weight: OptTensor)
        y = self.propagate(edge_index, x=y, edge_weight=None if edge_weight is None else edge_weight.to(y.dtype))
        return y if self.bias is None else y + self.bias

    def message(self, x_j: Tensor, edge_weight: OptTensor) -> Tensor:
        return x_j if edge_weight is None else edge_weight.view(-1, 1) * x_j

    def __repr__(self) -> str:
        lin = f", lin={self.lin}" if isinstance(self.lin, ChannelLinear) else ""
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}{lin})"


_HOOKS = [f"{part}_forward{when}" for part in ("propagate", "message", "aggregate") for when in ("", "_pre")]


def _weight_type(x: Features) -> torch.dtype:
    return torch.float32 if is_sparse(x) else torch.promote_types(x.dtype, torch.float32)


def check_features(x: Any) -> None:
    if not isinstance(x, Tensor | Graph):
        many = f" of {len(x)}" if isinstance(x, tuple | list) else ""
        raise ValueError(f"x must be one tensor of node features, got a {type(x).__name__}{many}")
    if len(x.shape) < 2:
        raise ValueError(f"x must have shape (*, N, F), got {list(x.shape)}")
