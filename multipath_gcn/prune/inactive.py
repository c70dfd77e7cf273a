"""Channels that training has switched off: by the scale of their batch norm, or by what they give on data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.fold import CONSTANT
from multipath_gcn.prune.magnitude import Scores
from multipath_gcn.prune.order import Order
from multipath_gcn.prune.peaks import peaks
from multipath_gcn.prune.readers import readers
from multipath_gcn.prune.signals import signals

SCALE, ACTIVATION, READ = 1e-3, 1e-12, 1e-12
TESTS = {"scale": SCALE, "activation": ACTIVATION, "read": READ}
ANY = 1e12  # of the squared mean: with a scale near 0 the rest of the variance does not matter


def largest_scales(model: nn.Module, channels: Channels) -> Scores:
    r"""For every channel the largest :math:`|\gamma|` of the batch norms behind its filters, those of depthwise
    convolutions included.

    Groups of which some layer is not followed by a batch norm with a scale are not in the result.

    Raises:
        ValueError: if that leaves none.
    """
    known, found = dict(model.named_parameters()), {}
    for group in channels.groups:
        scales = np.zeros(len(group))
        for layer, units in group.rows.items():
            norm = channels.norm_after(group.weights[layer])
            if norm is None or norm[0] is None:
                break
            np.maximum.at(scales, units, known[norm[0]].detach().double().abs().numpy(force=True))
        else:
            found[group.name] = scales
    if not found:
        raise ValueError("model must have filters that batch norms with a scale follow for prune=inactive, got none")
    return found


def by_inactivity(
    model: nn.Module,
    channels: Channels,
    batches: Sequence[tuple[Any, ...]] | None = None,
    round_to: int = 1,
    test: str = "scale",
    threshold: float | None = None,
) -> Order:
    r"""Channels that are inactive, and no others, as a method of :func:`~multipath_gcn.prune.compress`; the least
    active first. ``Budget(all=True)`` takes all of them, but for one that stays in every layer.

    Batch norm, ReLU, an adaptive optimiser and L2 in the gradient switch filters off while they train, which `Mehta,
    Kim and Theobalt <https://arxiv.org/abs/1811.12495>`_ found and called implicit filter sparsity. Their tests:
    :math:`|\gamma| < 10^{-3}`; or :math:`\max |a| < 10^{-12}` of a channel's activation over all training data. What a
    channel of such a scale still gives in the mean, near :math:`\max(\beta, 0)`, is added to what reads it. Our own
    third one, for optimisers that set weights to zero: :math:`\lVert w \rVert_2 < 10^{-12}` of all weights w that read
    a channel.

    Args:
        batches: for ``test="activation"``, the data.
        test: ``"scale"``, ``"activation"`` or ``"read"``.
        threshold: other than 1e-3, 1e-12 or 1e-12.

    Raises:
        ValueError: for an unknown ``test``, a ``threshold`` not above 0, or a model in which nothing is inactive.
    """
    if test not in TESTS:
        raise ValueError(f"test must be one of {list(TESTS)}, got {test!r}")
    limit = TESTS[test] if threshold is None else threshold
    if not limit > 0:
        raise ValueError(f"threshold must be greater than 0, got {threshold!r}")
    if test == "activation" and not batches:
        raise ValueError("batches must hold data for test='activation', got none")
    scores = _scores(model, channels, batches, test)
    if test == "scale":  # what is left of a channel must be known, to be added to what reads it
        known = signals(model, channels, in_one_state=True)
        scores = {name: values for name, values in scores.items() if known[name] is not None}
    if not scores:
        raise ValueError(f"model must have layers of which a {test} tells what is inactive, got none")
    least = min(values.min() for values in scores.values())
    if not least < limit:
        raise ValueError(f"model must have channels with a {test} below {limit} to remove, the least is {least:.3g}")
    below = {name: np.where(values < limit, values, np.nan) for name, values in scores.items()}
    order = Order(channels, below, "global", round_to, constant=ANY if test == "scale" else CONSTANT)
    order.left_alone = [
        f"{group.name}: no {test} tells what is inactive, or what an inactive channel gives"
        for group in channels.groups
        if group.name not in scores and len(group.free)
    ]
    return order


def _scores(model: nn.Module, channels: Channels, batches: Sequence[tuple[Any, ...]] | None, test: str) -> Scores:
    if test == "scale":
        return largest_scales(model, channels)
    if test == "activation":
        return peaks(model, channels, batches)
    read_by = {group.name: readers(model, channels, group) for group in channels.groups}
    return {name: np.sqrt(sum(reader.energy() for reader in found)) for name, found in read_by.items() if found}


@torch.no_grad()
def selectivity(activations: torch.Tensor, least: float = 1e-3) -> torch.Tensor:
    r"""For every feature the part of the examples in which it is silent:

    .. math::
        s_c = \frac{1}{N} \sum_n 1\Big[ \max_p a_{ncp} < \epsilon \, \max_{n', p} a_{n'cp} \Big]

    Universality is :math:`1 - s_c`. After `Mehta, Kim and Theobalt <https://arxiv.org/abs/1811.12495>`_. A feature that
    is silent everywhere has 1.

    Args:
        activations: (N, C, \*), not negative.
        least: :math:`\epsilon`.

    Returns:
        (C).
    """
    top = activations.flatten(2).amax(2) if activations.dim() > 2 else activations
    return ((top < least * top.amax(0)) | (top.amax(0) == 0)).double().mean(0)
