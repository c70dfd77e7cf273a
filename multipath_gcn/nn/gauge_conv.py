import math
from typing import Any

import torch
from torch import Tensor, nn

from multipath_gcn.graph import GaugeGraph
from multipath_gcn.nn.transform import build_windows
from multipath_gcn.ops import ChannelWindows, channel_transform, gauge_sums
from multipath_gcn.ops.gauge_mix import mix_orders


class GaugeEquivariantConv(nn.Module):
    r"""The gauge-equivariant convolution on meshes of `"Gauge Equivariant Mesh CNNs: Anisotropic convolutions on
    geometric graphs" <https://arxiv.org/abs/2003.05425>`_.

    .. math::
        y_p = S x_p + \frac{1}{|\mathcal{N}_p|} \sum_{q \in \mathcal{N}_p} K(\theta_{pq}) \, \rho_{in}(g_{pq}) \, x_q +
        b, \qquad K(\theta) = \rho_{out}(\theta) \, K(0) \, \rho_{in}(-\theta)

    :math:`\theta_{pq}` is the angle at which p sees its neighbour q in the frame of its tangent plane, :math:`g_{pq}`
    that by which parallel transport turns frames from q to p, and :math:`\rho` turns a feature with the frame: order 0
    not at all, order m by m times the angle. :math:`S` commutes with :math:`\rho`, any matrix is a :math:`K(0)`, and
    the bias is added to order 0 only, so that turning the frames at all vertices turns the output as it turns the
    input, exactly. Sums over neighbours come before weights (see :mod:`multipath_gcn.graph.gauge`): nothing of the
    size of edges times channels is kept, and weights are applied once a vertex.

    Weights: :math:`C_{out} C_{in} ((2L+1)(2L'+1) + 2 \min(L, L') + 1)` for dense windows, L and L' the orders.

    Args:
        in_channels, out_channels: numbers of features of each order, C.
        in_order, out_order: highest orders L and L', 0 or more.
        bias: whether to add a learned bias.
        transform, groups, overlap: which input channels a filter reads, of every order the same, as in
            :class:`~multipath_gcn.nn.GCNConv`: never a window across orders.
        device, dtype: of the parameters, which start uniform in :math:`\pm \sqrt{6 / (f_{in} + f_{out})}`, with
            :math:`f_{in} = (2L+1) K` values that one is made of, K the width of a window, and
            :math:`f_{out} = f_{in} C_{out} / C_{in}`; for S without the factor 2L+1.

    Shapes:
        - **input:** vertex features :math:`(|\mathcal{V}|, 2L+1, C_{in})`: order 0, then real and imaginary part of
          each further order, of all channels; a :class:`~multipath_gcn.graph.GaugeGraph`
        - **output:** :math:`(|\mathcal{V}|, 2L'+1, C_{out})`

    Raises:
        ValueError: for a negative order, widths that do not fit ``groups``, or an input of another shape.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_order: int = 2,
        out_order: int = 2,
        bias: bool = True,
        *,
        transform: str = "dense",
        groups: int | None = None,
        overlap: Any = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        for name, order in (("in_order", in_order), ("out_order", out_order)):
            if isinstance(order, bool) or not isinstance(order, int) or order < 0:
                raise ValueError(f"{name} must be an integer of at least 0, got {order!r}")
        factory = {"device": device, "dtype": dtype}
        self.in_channels, self.out_channels = in_channels, out_channels
        self.in_order, self.out_order = in_order, out_order
        self.windows = build_windows(in_channels, out_channels, transform, groups, overlap)
        self._both = ChannelWindows(2 * self.windows.start.tolist(), self.windows.width, in_channels)
        read, written, width = 2 * in_order + 1, 2 * out_order + 1, self.windows.width
        self.weight = nn.Parameter(torch.empty(written, out_channels, read, width, **factory))
        self.weight_self = nn.Parameter(torch.empty(min(read, written), out_channels, width, **factory))
        self.register_parameter("bias", nn.Parameter(torch.empty(out_channels, **factory)) if bias else None)
        self.options = {"transform": transform, "groups": groups, "overlap": overlap}
        self.reset_parameters()

    def reset_parameters(self) -> None:
        share = self.windows.width * (1 + self.out_channels / self.in_channels)
        for weight, values in ((self.weight, 2 * self.in_order + 1), (self.weight_self, 1)):
            bound = math.sqrt(6 / (share * values))
            nn.init.uniform_(weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, graph: GaugeGraph) -> Tensor:
        if not isinstance(graph, GaugeGraph):
            raise ValueError(f"graph must be a GaugeGraph, got {type(graph).__name__}")
        wanted = graph.num_nodes, 2 * self.in_order + 1, self.in_channels
        if x.shape != wanted:
            raise ValueError(f"x must have shape {list(wanted)}, got {list(x.shape)}")
        sums = gauge_sums(graph, x, self.out_order)  # [N, 2L'+1, 2L+1, C]
        if self.windows.is_dense:
            return self._mixed(sums, x)
        return self._mixed_by_windows(sums, x)

    def _mixed(self, sums: Tensor, x: Tensor) -> Tensor:
        matrices = [_matrix(weight) for weight in self.weight.split(_components(self.out_order))]
        common = min(self.in_order, self.out_order)
        own = [_matrix(weight.unsqueeze(2)) for weight in self.weight_self.split(_components(common))]
        return mix_orders(sums, x, self.bias, matrices, own)

    def _mixed_by_windows(self, sums: Tensor, x: Tensor) -> Tensor:
        # Split, not sliced: then the gradient is put together once.
        read, written = _components(self.in_order), _components(self.out_order)
        both = zip(sums.split(written, dim=1), self.weight.split(written), strict=True)
        outputs = [self._by_windows(h, weight, None if n else self.bias) for n, (h, weight) in enumerate(both)]
        common = min(self.in_order, self.out_order) + 1
        own = zip(x.unsqueeze(2).split(read, dim=1), self.weight_self.unsqueeze(2).split(read[:common]), strict=False)
        for n, (part, weight) in enumerate(own):
            outputs[n] = outputs[n] + self._by_windows(part, weight, None)
        return torch.cat(outputs, dim=1)

    def _by_windows(self, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """One order of the output, [N, parts, C']: a weight [parts, C', S, K] by a sum h [N, parts, S, C], both real
        (one part) or both complex (two)."""
        parts = len(weight)
        windows = self.windows if parts == 1 else self._both
        y = bias
        for s in range(h.size(2)):
            term = channel_transform(h[:, :, s], weight[:, :, s].flatten(0, 1), windows)
            y = term if y is None else y + term
        if parts == 1:
            return y
        y = y.unflatten(2, (2, self.out_channels))  # each part of the sum by each part of the weight
        return torch.stack([y[:, 0, 0] - y[:, 1, 1], y[:, 1, 0] + y[:, 0, 1]], dim=1)

    def __repr__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in self.options.items() if value not in (None, "dense"))
        sizes = f"{self.in_channels}, {self.out_channels}, in_order={self.in_order}, out_order={self.out_order}"
        return f"{type(self).__name__}({sizes}{given})"


def _matrix(weight: Tensor) -> Tensor:
    """Of an order: its weight [parts, C', S, C], real or complex, as the matrix of real numbers that it stands for."""
    if len(weight) == 1:
        return weight.flatten(2)[0]
    real, imaginary = weight.flatten(2)
    return torch.cat([torch.cat([real, -imaginary], dim=1), torch.cat([imaginary, real], dim=1)])


def _components(order: int) -> list[int]:
    """How many real numbers each order has."""
    return [1] + [2] * order
