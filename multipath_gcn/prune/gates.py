r"""Gates that training closes: on the channels that a batch norm gives, and on whole residual branches.

.. math::
    y = z \, \mathrm{norm}(x), \quad z = \min(1, \max(0, 1.2 s - 0.1)), \quad
    s = \sigma\Big(\frac{\log u - \log(1 - u) + a}{\beta}\Big), \quad u \sim U(0, 1)

Hard concrete gates of Louizos, Welling and Kingma 2018, *Learning sparse neural networks through L0 regularization*
(arXiv:1712.01312): exactly 0 or 1 with a chance of its own each, and with a gradient between. Outside training
:math:`s = \sigma(a)`. Noise is what makes them tell what a channel is worth: a factor without it could become ever
smaller while the scales around it grow.

:math:`a = a_0 + \sqrt{r / c} \; \theta` with the parameter :math:`\theta`, 0 at first, and c the part of the network's
cost that goes when the gate closes: under the penalty alone, with SGD and all else open, the channels of all layers
close after the same steps, and branches after a 17th of them, before channels have taken from a branch what it would
save.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LOW, HIGH = -0.1, 1.1  # what s is stretched to before it is cut off
BETA = 2 / 3
CHANNEL = {"start": 2.0, "rate": 1.0}  # nearly open
BRANCH = {"start": 0.0, "rate": 4.0}  # half open, so that the others learn to do without


class Gate(nn.Module):
    """z of every channel, or of a branch.

    Args:
        shape: (C,) of channels, of which one stays open at least; () of a branch.
        cost: c.
        start: :math:`a_0`.
        rate: r.
    """

    def __init__(self, shape: tuple[int, ...], cost: float, start: float, rate: float):
        super().__init__()
        self.start, self.step = start, math.sqrt(rate / cost)
        self.raw = nn.Parameter(torch.zeros(shape))

    def log_odds(self) -> Tensor:
        return self.start + self.step * self.raw

    def forward(self) -> Tensor:
        a = self.log_odds()
        if self.training:
            u = torch.rand_like(a).clamp(1e-6, 1 - 1e-6)
            s = torch.sigmoid((u.log() - (-u).log1p() + a) / BETA)
        else:
            s = torch.sigmoid(a)
        z = (LOW + (HIGH - LOW) * s).clamp(0, 1)
        return z if z.dim() == 0 else torch.where(z.amax() > 0, z, s * (a == a.amax()))

    def chance(self) -> Tensor:
        """Of z > 0."""
        return torch.sigmoid(self.log_odds() - BETA * math.log(-LOW / HIGH))


class GatedNorm(nn.Module):
    """A batch norm, times gates."""

    def __init__(self, norm: _BatchNorm, gate: Gate):
        super().__init__()
        self.norm, self.gate = norm, gate.to(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.norm(x), self.gate()
        return y * z.to(y.dtype)[(..., *[None] * (y.dim() - 2))] if z.dim() else y * z

    @torch.no_grad()
    def folded(self) -> _BatchNorm:
        """The norm with the gate in its scale and shift: zeros where it is closed."""
        z = self.gate.eval()()
        self.norm.weight.mul_(z)
        self.norm.bias.mul_(z)
        return self.norm
