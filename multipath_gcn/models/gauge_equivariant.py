from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from multipath_gcn.graph import GaugeGraph
from multipath_gcn.nn.gauge_conv import GaugeEquivariantConv
from multipath_gcn.nn.gauge_nonlinearity import GatedNonlinearity, RegularNonlinearity
from multipath_gcn.ops import combine

_NONLINEARITIES = ("regular", "gated")


class GaugeEquivariantNet(nn.Module):
    r"""Scores of the vertices of a mesh, by stacks of gauge-equivariant convolutions beside each other.

    .. math::
        Y = f\Big(\sum_{p=1}^{P} (c_p \circ g_{p, L_p} \circ \dots \circ g_{p, 1})(X)\Big), \qquad
        g(H) = \sigma(K \star H) \; [\, + H \,]

    with :class:`~multipath_gcn.nn.GaugeEquivariantConv` as :math:`K \star` and as :math:`c_p`, which ends every path in
    order 0, where paths may be added whatever orders they have inside; :math:`f` is two linear layers with ReLU
    between. Input and output are of order 0, so that the output does not depend on the frames. With paths of order 0
    only this is an isotropic graph convolution network, of means over neighbours.

    Args:
        in_channels, out_channels: widths of input and output.
        hidden_channels: width of all layers inside.
        paths: for each path the orders of its layers: ``((2, 2), (1,))`` for one of two layers of order 2 beside one of
            order 1.
        nonlinearity: :math:`\sigma`: ``"regular"``, which is equivariant up to its sampling, or ``"gated"``, exactly.
        samples: of ``"regular"``.
        residual: adds to every layer its input where both have the same order and width.
        dropout: probability before the last linear layer.
        transform, groups, overlap: of the layers that read ``hidden_channels``.

    Shapes:
        - **input:** vertex features :math:`(|\mathcal{V}|, F_{in})`, a :class:`~multipath_gcn.graph.GaugeGraph`
        - **output:** :math:`(|\mathcal{V}|, F_{out})`

    Raises:
        ValueError: for no path, an unknown ``nonlinearity``, or what a layer refuses.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        paths: Sequence[Sequence[int]] = ((2, 2),),
        nonlinearity: str = "regular",
        samples: int = 7,
        residual: bool = True,
        dropout: float = 0.0,
        transform: str = "dense",
        groups: int | None = None,
        overlap: Any = None,
    ):
        super().__init__()
        if not paths or not all(isinstance(path, Sequence) and len(path) for path in paths):
            raise ValueError(f"paths must hold at least one path of at least one order, got {paths!r}")
        if nonlinearity not in _NONLINEARITIES:
            raise ValueError(f"nonlinearity must be one of {list(_NONLINEARITIES)}, got {nonlinearity!r}")
        self.in_channels, self.hidden_channels, self.out_channels = in_channels, hidden_channels, out_channels
        self.orders, self.nonlinearity, self.residual = tuple(map(tuple, paths)), nonlinearity, residual
        options = {"transform": transform, "groups": groups, "overlap": overlap}
        self.paths = nn.ModuleList()
        for path in self.orders:
            layers, width, before = nn.ModuleList(), in_channels, 0
            for order in path:
                own = options if width == hidden_channels and len(layers) else {}
                conv = GaugeEquivariantConv(width, hidden_channels, before, order, **own)
                gated = nonlinearity == "gated"
                act = GatedNonlinearity(hidden_channels, order) if gated else RegularNonlinearity(order, samples)
                layers.append(nn.ModuleDict({"conv": conv, "act": act}))
                width, before = hidden_channels, order
            layers.append(GaugeEquivariantConv(width, hidden_channels, before, 0, **options))
            self.paths.append(layers)
        self.readout = nn.Sequential(
            nn.ReLU(),
            nn.Linear(hidden_channels, hidden_channels),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_channels, out_channels),
        )

    def reset_parameters(self) -> None:
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def forward(self, x: Tensor, graph: GaugeGraph) -> Tensor:
        outputs = [self._path(path, x.unsqueeze(1), graph) for path in self.paths]
        return self.readout(combine([y.squeeze(1) for y in outputs]) if len(outputs) > 1 else outputs[0].squeeze(1))

    def _path(self, path: nn.ModuleList, x: Tensor, graph: GaugeGraph) -> Tensor:
        for layer in path[:-1]:
            y = layer["act"](layer["conv"](x, graph))
            x = y + x if self.residual and x.shape == y.shape else y
        return path[-1](x, graph)

    def __repr__(self) -> str:
        widths = f"{self.in_channels}, {self.hidden_channels}, {self.out_channels}"
        return f"{type(self).__name__}({widths}, paths={self.orders}, nonlinearity={self.nonlinearity!r})"
