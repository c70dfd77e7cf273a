"""Scores to and from `Torch-Pruning <https://github.com/VainF/Torch-Pruning>`_."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.evaluation import evaluating
from multipath_gcn.prune.order import Order


class GroupImportance:
    """Our scores as an importance of Torch-Pruning's pruners.

    Args:
        model: that its pruner is given.
        channels: of the model.
        scores: for groups by name, a score of every unit, such as :func:`~multipath_gcn.prune.magnitude` gives.

    Raises:
        ValueError: when called with a group whose first layer has no scores.
    """

    def __init__(self, model: nn.Module, channels: Channels, scores: Mapping[str, np.ndarray]):
        self._names = {module: name for name, module in model.named_modules()}
        self._channels, self._scores = channels, scores

    def __call__(self, group: Any) -> Tensor:
        """A score of every channel of a ``torch_pruning`` group."""
        layer, numbers = self._names[group[0].dep.target.module], group[0].idxs
        found = self._channels.group(layer)
        if found.name not in self._scores:
            raise ValueError(f"scores must hold {found.name!r}, got {sorted(self._scores)}")
        units = found.rows[layer][numbers]
        return torch.from_numpy(self._scores[found.name][units].astype(np.float32))


def by_torch_pruning(
    model: nn.Module,
    channels: Channels,
    batches: list[tuple[Any, ...]] | None = None,
    round_to: int = 1,
    importance: Callable[[Any], Tensor | None] | None = None,
    scope: str = "global",
) -> Order:
    """An importance of Torch-Pruning as a method of :func:`~multipath_gcn.prune.compress`.

    Its dependency graph, traced on the first of ``batches``, says what a layer's channels are scored by; what goes
    together and how it is removed is found here. Groups that it does not know of have no score, and stay.

    Args:
        importance: such as ``torch_pruning.importance.LAMPImportance()``; ``None``: its ``GroupMagnitudeImportance``.

    Raises:
        ValueError: without ``batches``, or where it scores no group at all.
    """
    import torch_pruning as tp

    if not batches:
        raise ValueError("batches must hold an example for Torch-Pruning to trace the model on, got none")
    importance = importance or tp.importance.GroupMagnitudeImportance()
    with evaluating(model):  # it leaves the model so
        graph = tp.DependencyGraph().build_dependency(model, example_inputs=batches[0])
    scores = {}
    for group in channels.groups:
        layer = dict(model.named_modules()).get(group.layers[0])
        if layer is None:  # a parameter of its own
            continue
        pruner = graph.get_pruner_of_module(layer)
        if pruner is None or layer not in graph.module2node:
            continue
        rows = group.rows[group.layers[0]]
        found = importance(graph.get_pruning_group(layer, pruner.prune_out_channels, idxs=list(range(len(rows)))))
        if found is not None and len(found) == len(rows):
            scores[group.name] = np.full(len(group), np.inf)
            np.minimum.at(scores[group.name], rows, found.detach().double().numpy(force=True))
    if not scores:
        raise ValueError(f"importance must score a group of the model, got none of {[g.name for g in channels.groups]}")
    return Order(channels, scores, scope, round_to)
