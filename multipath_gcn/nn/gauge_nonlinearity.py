"""What stands between gauge-equivariant convolutions: functions of features (N, 2L+1, C), see
:class:`~multipath_gcn.nn.GaugeEquivariantConv`."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.resolver import activation_resolver

from multipath_gcn.graph.versions import lasting


class RegularNonlinearity(nn.Module):
    r"""An activation on functions of the circle, sampled: what `Gauge Equivariant Mesh CNNs
    <https://arxiv.org/abs/2003.05425>`_ have.

    .. math::
        f(\varphi_s) = x^0 + \sum_{m=1}^{L} \mathrm{Re}\, x^m \cos m \varphi_s + \mathrm{Im}\, x^m \sin m \varphi_s,
        \qquad y = \text{the same coefficients of } \sigma(f), \qquad \varphi_s = 2 \pi s / S

    Turning a frame shifts f. Shifts by multiples of :math:`2\pi / S` are shifts of the samples, and commute with
    :math:`\sigma` exactly; others do so the better the more samples there are.

    Args:
        order: L, 0 or more; at 0 this is the activation itself.
        samples: S, at least 2L+1.
        act: activation by name or as callable, as PyG resolves it.

    Shapes:
        - **input:** :math:`(*, 2L+1, C)`
        - **output:** the same

    Raises:
        ValueError: for too few samples, or an input of another order.
    """

    def __init__(self, order: int, samples: int = 7, act: str | Callable[..., Any] = "relu"):
        super().__init__()
        if samples < 2 * order + 1:
            raise ValueError(f"samples must be at least 2 * order + 1 = {2 * order + 1}, got {samples}")
        self.order, self.samples = order, samples
        self.act = activation_resolver(act)

    def forward(self, x: Tensor) -> Tensor:
        check_order(x, self.order)
        if self.order == 0:
            return self.act(x)
        synthesis, analysis = _waves(self.order, self.samples, x.dtype, x.device)
        return analysis @ self.act(synthesis @ x)

    def extra_repr(self) -> str:
        return f"order={self.order}, samples={self.samples}"


@lru_cache(maxsize=64)
def _waves(order: int, samples: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coefficients to samples [S, 2L+1], and back."""

    def make() -> tuple[Tensor, Tensor]:
        angle = torch.arange(samples, dtype=torch.float64) * (2 * math.pi / samples)
        parts = [wave for m in range(1, order + 1) for wave in ((m * angle).cos(), (m * angle).sin())]
        synthesis = torch.stack([torch.ones_like(angle), *parts], dim=1)
        analysis = synthesis.t() * (2 / samples)
        analysis[0] /= 2
        return synthesis.to(device, dtype), analysis.to(device, dtype)

    return lasting(make)


class GatedNonlinearity(nn.Module):
    r"""Activation of what does not turn, which also says how much passes of what does: exactly equivariant.

    .. math::
        y^0 = \sigma(x^0), \qquad y^m = \mathrm{sigmoid}(W_m x^0 + b_m) \, x^m

    in place of the sampled non-linearity, as in `"3D Steerable CNNs" <https://arxiv.org/abs/1807.02547>`_ for rotations
    of space.

    Args:
        channels: C.
        order: L, 0 or more.
        act: :math:`\sigma`, by name or as callable, as PyG resolves it.

    Shapes:
        - **input:** :math:`(*, 2L+1, C)`
        - **output:** the same

    Raises:
        ValueError: for an input of another order.
    """

    def __init__(self, channels: int, order: int, act: str | Callable[..., Any] = "relu"):
        super().__init__()
        self.channels, self.order = channels, order
        self.act = activation_resolver(act)
        self.gates = nn.Linear(channels, order * channels) if order else None

    def reset_parameters(self) -> None:
        if self.gates is not None:
            self.gates.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        check_order(x, self.order)
        scalars = x[..., :1, :]
        if self.gates is None:
            return self.act(scalars)
        gates = self.gates(scalars).sigmoid().unflatten(-1, (self.order, self.channels)).squeeze(-3)
        return torch.cat([self.act(scalars), x[..., 1:, :] * gates.repeat_interleave(2, dim=-2)], dim=-2)

    def extra_repr(self) -> str:
        return f"{self.channels}, order={self.order}"


def check_order(x: Tensor, order: int) -> None:
    if x.dim() < 2 or x.size(-2) != 2 * order + 1:
        raise ValueError(f"x must have shape (*, {2 * order + 1}, C) for order {order}, got {list(x.shape)}")
