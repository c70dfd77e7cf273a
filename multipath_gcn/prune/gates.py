r"""Gates that training closes: on the channels that a batch norm gives, and on whole residual branches.

.. math::
    y = s \, \mathrm{norm}(x), \qquad s_c = \max\Big(1 - \frac{\tau}{|g_c|}, 0\Big), \quad
    \tau = u \, \log(1 + e^{t / u})

A channel's g is the scale of its norm, so that scale and shift are drawn to zero together, to
:math:`\mathrm{sign}(\gamma) \max(|\gamma| - \tau, 0)`. A branch has a g of its own, which is 1 at first, and
:math:`y = g \, s \, \mathrm{norm}(x)`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

UNIT = 0.1  # u: thresholds below it move little
OPEN = 0.02  # the threshold at first
NEVER_ALL = 0.99  # of the largest scale of a layer that must not become empty, its threshold is at most this part


class Threshold(nn.Module):
    """A positive number that is learned."""

    def __init__(self, like: Tensor):
        super().__init__()
        start = UNIT * torch.log(torch.expm1(torch.tensor(OPEN / UNIT, dtype=torch.double)))
        self.raw = nn.Parameter(start.to(like))

    def forward(self) -> Tensor:
        return UNIT * F.softplus(self.raw / UNIT)


class ChannelGate(nn.Module):
    """s of every channel of a norm; never all of them 0."""

    def __init__(self, norm: _BatchNorm):
        super().__init__()
        self.threshold = Threshold(norm.weight)

    def forward(self, norm: _BatchNorm) -> Tensor:
        size = norm.weight.abs()
        return _open(size, self.limit(size))

    def margin(self, norm: _BatchNorm) -> Tensor:
        """How far above its threshold a channel is, in units of the mean scale of the layer; below 0: closed."""
        size = norm.weight.abs()
        return (size - self.limit(size)) / size.detach().mean().clamp(min=torch.finfo(size.dtype).tiny)

    def limit(self, size: Tensor) -> Tensor:
        return torch.minimum(self.threshold(), NEVER_ALL * size.detach().max())


class BranchGate(nn.Module):
    """s of a residual branch, one number, with the sign of its g."""

    def __init__(self, norm: _BatchNorm):
        super().__init__()
        self.scale, self.threshold = nn.Parameter(torch.ones_like(norm.weight[0])), Threshold(norm.weight)

    def forward(self, norm: _BatchNorm) -> Tensor:
        return self.scale * _open(self.scale.abs(), self.threshold())

    def margin(self, norm: _BatchNorm) -> Tensor:
        """The same of a branch, whose scale is 1 at first."""
        return self.scale.abs() - self.threshold()


class GatedNorm(nn.Module):
    """A batch norm in training, and what gates let through of it."""

    def __init__(self, norm: _BatchNorm, gate: ChannelGate | BranchGate):
        super().__init__()
        self.norm, self.gate = norm, gate

    def forward(self, x: Tensor) -> Tensor:
        y, factor = self.norm(x), self.gate(self.norm)
        return y * (factor if factor.dim() == 0 else factor[(..., *[None] * (y.dim() - 2))])

    @torch.no_grad()
    def folded(self) -> _BatchNorm:
        """The norm with the gate in its scale and shift: zeros where it is closed."""
        factor = self.gate(self.norm)
        self.norm.weight.mul_(factor)
        self.norm.bias.mul_(factor)
        return self.norm


def _open(size: Tensor, threshold: Tensor) -> Tensor:
    return (size - threshold).clamp(min=0) / size.clamp(min=torch.finfo(size.dtype).tiny)
