"""Finds the channels of a model, and tries them out."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.errors import CannotPrune
from multipath_gcn.prune.trace import Trace
from multipath_gcn.prune.verify import copied, verify


def find_channels(model: nn.Module, *inputs: Any) -> Channels:
    """Which channels of ``model`` can be removed, and what goes together.

    The model is run once under watch: every operator says whether it moves, unites or reads channels. Then some
    channels of every layer are removed from a copy; an operator that cannot do with fewer, for a width that is
    written in the code, say, holds its channels fast, by name.

    Args:
        model: any module; it is not changed.
        inputs: what its ``forward`` takes. Shapes count, not values; a few images are enough.

    Raises:
        ValueError: for a model that does not run on ``inputs``, or a parameter that is not finite.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.detach().isfinite().all():
            raise ValueError(f"model must have finite parameters and buffers, got nan or inf in {name!r}")
    choices: dict[int, int] = {}
    forbidden: dict[str, str] = {}
    while True:
        run = copy.deepcopy(model)  # what it keeps of a call is not copied again
        trace = Trace(run, choices, forbidden)
        try:
            trace.run(run, copied(inputs))
        except Exception as error:  # whatever the model's code raises on these inputs
            raise ValueError(f"model must run on inputs to be traced, got {type(error).__name__}: {error}") from error
        channels = Channels(trace)
        try:
            verify(model, channels.plan(_some(channels)), *inputs)
        except CannotPrune as error:
            site = next(
                (
                    i
                    for i, (where, count) in enumerate(trace.sites)
                    if where == error.where and choices.get(i, 0) < count
                ),
                None,
            )
            if site is not None:
                choices[site] = choices.get(site, 0) + 1
            elif error.where in forbidden:
                raise
            else:
                forbidden[error.where] = str(error)
            continue
        return channels


def _some(channels: Channels) -> dict[str, list[int]]:
    """Channels from every group, not evenly spread: the first and a few at random, never all."""
    generator = np.random.default_rng(0)
    found = {}
    for group in channels.groups:
        free = group.free
        if len(free) > 1:
            units = {free[0], *generator.choice(free[1:], len(free) // 4, replace=False)}
            layer = group.layers[0]
            found[layer] = np.flatnonzero(np.isin(group.rows[layer], list(units))).tolist()
    return {layer: rows for layer, rows in found.items() if rows}
