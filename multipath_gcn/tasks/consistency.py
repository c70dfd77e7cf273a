import torch
from torch import Tensor, nn

_DISTANCES = ("squared", "cross_entropy")


class ConsistencyLoss(nn.Module):
    r"""How far several stochastic passes over the same nodes are from their common, sharpened prediction.

    .. math::
        L = \frac{\lambda}{N S} \sum_{i=1}^{N} \sum_{s=1}^{S} d(p_{is}, q_i), \qquad
        q_{ic} = \frac{\bar{p}_{ic}^{\,1/T}}{\sum_{c'} \bar{p}_{ic'}^{\,1/T}}, \quad
        \bar{p}_i = \frac{1}{S} \sum_s p_{is}, \quad p_{is} = \mathrm{softmax}(z_{is})

    with :math:`d(p, q) = \lVert p - q \rVert_2^2` or :math:`d(p, q) = -\sum_c q_c \log p_c`.
    It needs no labels, so that all nodes of the graph teach the model. :math:`q` is a constant for the gradient.
    From `"Graph Random Neural Network for Semi-Supervised Learning on Graphs" <https://arxiv.org/abs/2005.11079>`_.

    Args:
        passes: number S of stochastic passes, at least 2.
        weight: :math:`\lambda \ge 0`.
        ramp: number of epochs over which :math:`\lambda` grows linearly to its full value, 0 for none; without it the
            passes may agree on one class for all nodes before the labels have taught anything.
        temperature: T in (0, 1]; lower is sharper.
        distance: d, ``"squared"`` (the paper's) or ``"cross_entropy"``.

    Shapes:
        - **input:** scores :math:`(S, N, C)`, and the number of the epoch, from 1
        - **output:** a scalar

    Raises:
        ValueError: for an argument outside its range.
    """

    def __init__(
        self, passes: int = 2, weight: float = 1.0, temperature: float = 0.5, distance: str = "squared", ramp: int = 0
    ):
        super().__init__()
        if passes < 2:
            raise ValueError(f"passes must be at least 2, got {passes}")
        if ramp < 0:
            raise ValueError(f"ramp must be 0 or more epochs, got {ramp}")
        if weight < 0:
            raise ValueError(f"weight must be 0 or more, got {weight}")
        if not 0 < temperature <= 1:
            raise ValueError(f"temperature must lie in (0, 1], got {temperature}")
        if distance not in _DISTANCES:
            raise ValueError(f"distance must be one of {list(_DISTANCES)}, got {distance!r}")
        self.passes, self.weight, self.temperature, self.distance, self.ramp = (
            passes,
            weight,
            temperature,
            distance,
            ramp,
        )

    def forward(self, scores: Tensor, epoch: int) -> Tensor:
        log_p = scores.log_softmax(dim=-1)
        with torch.no_grad():
            sharp = log_p.exp().mean(dim=0) ** (1 / self.temperature)
            target = sharp / sharp.sum(dim=-1, keepdim=True)
        if self.distance == "squared":
            distance = (log_p.exp() - target).square().sum(dim=-1)
        else:
            distance = -(target * log_p).sum(dim=-1)
        return self.weight * min(1.0, epoch / max(self.ramp, 1)) * distance.mean()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(passes={self.passes}, weight={self.weight}, temperature={self.temperature}, "
            f"distance={self.distance!r}, ramp={self.ramp})"
        )
