"""Scores of channels by size of weights, by batch norm, and at random: the baselines."""

import numpy as np
import torch
from torch import nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.order import Order

Scores = dict[str, np.ndarray]


@torch.no_grad()
def magnitude(model: nn.Module, channels: Channels, p: int = 2) -> Scores:
    r"""For every channel :math:`\|w\|_p` of the filters that make it, over the mean of its group.

    `"Pruning Filters for Efficient ConvNets" <https://arxiv.org/abs/1608.08710>`_ with p = 1.

    Args:
        p: 1 or 2.

    Raises:
        ValueError: for another p.
    """
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, got {p!r}")
    known, found = dict([*model.named_parameters(), *model.named_buffers()]), {}
    for group in channels.groups:
        sums = np.zeros(len(group))
        for layer, units in group.rows.items():
            weight = known[group.weights[layer]].detach().double()
            dim = channels.dim_of(group.weights[layer], group)
            rows = weight.movedim(dim, 0).flatten(1)
            np.add.at(sums, units, (rows.abs() ** p).sum(1).numpy(force=True))
        found[group.name] = _over_mean(sums ** (1 / p))
    return found


def norm_scale(model: nn.Module, channels: Channels) -> Scores:
    r"""For every channel the sum of :math:`|\gamma|` of its batch norms, from
    `"Learning Efficient Convolutional Networks through Network Slimming" <https://arxiv.org/abs/1708.06519>`_.

    Groups without a batch norm have no score.

    Raises:
        ValueError: for a model without batch norms.
    """
    known, found = dict(model.named_parameters()), {}
    for group in channels.groups:
        sums, norms = np.zeros(len(group)), set()
        for event, units in channels.happening(group):
            if event.kind == "normalised" and event.names[0] is not None and event.names[0] not in norms:
                norms.add(event.names[0])
                scale = known[event.names[0]].detach().double().abs().numpy(force=True)
                np.add.at(sums, units[units >= 0], scale[units >= 0])
        if norms:
            found[group.name] = sums
    if not found:
        raise ValueError("model must have batch norms with a scale for prune=norm_scale, got none")
    return found


def by_magnitude(
    model: nn.Module, channels: Channels, batches: object = None, round_to: int = 1, p: int = 2, scope: str = "global"
) -> Order:
    """:func:`magnitude` as a method of :func:`~multipath_gcn.prune.compress`."""
    return Order(channels, magnitude(model, channels, p), scope, round_to)


def by_norm_scale(
    model: nn.Module, channels: Channels, batches: object = None, round_to: int = 1, scope: str = "global"
) -> Order:
    """:func:`norm_scale` as a method of :func:`~multipath_gcn.prune.compress`."""
    return Order(channels, norm_scale(model, channels), scope, round_to)


def by_chance(
    model: nn.Module,
    channels: Channels,
    batches: object = None,
    round_to: int = 1,
    seed: int = 0,
    scope: str = "layer",
) -> Order:
    """:func:`at_random` as a method of :func:`~multipath_gcn.prune.compress`."""
    return Order(channels, at_random(channels, seed), scope, round_to)


def at_random(channels: Channels, seed: int = 0) -> Scores:
    """Numbers drawn from [0, 1)."""
    generator = np.random.default_rng(seed)
    return {group.name: generator.random(len(group)) for group in channels.groups}


def _over_mean(scores: np.ndarray) -> np.ndarray:
    mean = scores.mean()
    return scores / mean if mean > 0 else scores
