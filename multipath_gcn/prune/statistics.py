"""Second moments of what layers read and give, over sampled places of calibration data."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class Moments:
    """Sums over samples: of x [K], y [O], x xᵀ [K, K], x yᵀ [K, O], and how many."""

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor

    @classmethod
    def none(cls, k: int, o: int, device: torch.device) -> "Moments":
        sums = (torch.zeros(shape, dtype=torch.double, device=device) for shape in ((k,), (o,), (k, k), (k, o)))
        return cls(0, *sums)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Rows x [n, K], y [n, O]."""
        x, y = x.detach(), y.detach()
        self.count += len(x)
        self.x += x.double().sum(0)
        self.y += y.double().sum(0)
        self.xx += (x.T @ x).double()
        self.xy += (x.T @ y).double()

    @property
    def centred(self) -> tuple[Tensor, Tensor]:
        """Covariances of x with x and with y, times ``count``."""
        return self.xx - torch.outer(self.x, self.x) / self.count, self.xy - torch.outer(self.x, self.y) / self.count


def places(y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """For every image of y [N, O, H, W] ``count`` places, as numbers in 0..HW-1."""
    return torch.randint(y.shape[2] * y.shape[3], (len(y), count), generator=generator)


def patches(x: Tensor, at: Tensor, geometry: dict) -> Tensor:
    """What a convolution reads at these places of its output: rows [N * count, C * k_h * k_w]."""
    columns = F.unfold(x, **geometry)  # [N, C k k, places]
    return columns.gather(2, at.to(x.device)[:, None].expand(-1, columns.size(1), -1)).transpose(1, 2).flatten(0, 1)


def outputs(y: Tensor, at: Tensor) -> Tensor:
    """Outputs at these places: rows [N * count, O]."""
    flat = y.flatten(2)
    return flat.gather(2, at.to(y.device)[:, None].expand(-1, flat.size(1), -1)).transpose(1, 2).flatten(0, 1)


def sampled(rows: Sequence[Tensor], count: int, generator: torch.Generator) -> list[Tensor]:
    """The same rows of tensors [*, C] for linear layers, ``count`` of them or all."""
    flat = [tensor.reshape(-1, tensor.shape[-1]) for tensor in rows]
    if len(flat[0]) <= count:
        return flat
    chosen = torch.randperm(len(flat[0]), generator=generator)[:count]
    return [tensor[chosen] for tensor in flat]
