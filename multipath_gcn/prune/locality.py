"""How local the filters of a fully connected layer have become that reads images."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Locality:
    """Of the filters with at least two weights that are not zero, means.

    Args:
        filters: how many these are.
        nonzeros: weights that are not zero, of a filter.
        share: part of the weights that are not zero, in the best window of a filter.
        distance: between two of them, in pixels.
        chance_share, chance_distance: the same of as many weights thrown anywhere. The best of all windows has more
            than the window's part of the image, the more so the fewer weights a filter has.
    """

    filters: int
    nonzeros: float
    share: float
    distance: float
    chance_share: float
    chance_distance: float


@torch.no_grad()
def locality(weight: Tensor, image_shape: tuple[int, int, int], window: int = 9, seed: int = 0) -> Locality:
    r"""Whether a layer that could read all pixels reads neighbours, as `Neyshabur 2020
    <https://arxiv.org/abs/2007.13657>`_ shows in pictures.

    With :math:`n_{op}` the number of weights of filter o at pixel p, over all colours, that are not zero, and
    :math:`n_o` their sum: share :math:`\max_w \sum_{p \in w} n_{op} / n_o` over all windows w inside the image, and
    distance :math:`\sum_{p,q} n_{op} n_{oq} \lVert p - q \rVert / (n_o (n_o - 1))`.

    Args:
        weight: (O, C H W) of a linear layer, or anything that can be viewed so.
        image_shape: (C, H, W).
        window: height and width.
        seed: of what chance gives.

    Raises:
        ValueError: for a weight that does not read such images, or a window larger than the image.
    """
    channels, height, width = image_shape
    if weight[0].numel() != math.prod(image_shape):
        raise ValueError(f"weight must read images of {list(image_shape)}, got {list(weight.shape)}")
    if not 1 <= window <= min(height, width):
        raise ValueError(f"window must lie in 1..{min(height, width)}, got {window}")
    present = (weight.flatten(1) != 0).cpu()
    present = present[present.sum(1) >= 2]
    if not len(present):
        return Locality(0, 0.0, math.nan, math.nan, math.nan, math.nan)
    draws = torch.rand(present.shape, generator=torch.Generator().manual_seed(seed))
    thrown = draws.argsort(1).argsort(1) < present.sum(1, keepdim=True)
    found = [_measure(p.view(-1, channels, height, width).sum(1).float(), window) for p in (present, thrown)]
    return Locality(len(present), present.sum(1).float().mean().item(), *found[0], *found[1])


def _measure(counts: Tensor, window: int) -> tuple[float, float]:
    total = counts.flatten(1).sum(1)
    best = F.avg_pool2d(counts[:, None], window, 1).flatten(1).amax(1) * window**2
    rows, columns = torch.meshgrid(*(torch.arange(float(size)) for size in counts.shape[1:]), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], 1)
    flat = counts.flatten(1)
    pairs = (flat @ torch.cdist(places, places) * flat).sum(1) / (total * (total - 1))
    return (best / total).mean().item(), pairs.mean().item()
