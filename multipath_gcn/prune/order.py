"""From scores of channels to the order in which they go."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.fold import CONSTANT, fold_constants
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.shift import with_new_biases

SCOPES = ("global", "layer")


class Order:
    """Channels of a model, the least important first.

    Args:
        channels: of the model.
        scores: for groups by name, a score of every unit. What is held fast is never taken, nor what has none (NaN).
        scope: ``"global"`` compares scores over all layers, ``"layer"`` takes the same part of every layer.
        round_to: channels that are left are a multiple of this.
        constant: as in :func:`~multipath_gcn.prune.fold.fold_constants`.

    Level n removes the first n of them, but at least one channel of every group stays.
    """

    left_alone: Sequence[str] = ()

    def __init__(
        self,
        channels: Channels,
        scores: Mapping[str, np.ndarray],
        scope: str = "global",
        round_to: int = 1,
        constant: float = CONSTANT,
    ):
        if scope not in SCOPES:
            raise ValueError(f"scope must be one of {list(SCOPES)}, got {scope!r}")
        self.channels, self.round_to, self.constant = channels, round_to, constant
        entries = []
        for group in channels.groups:
            if group.name not in scores:
                continue
            score = scores[group.name]
            free = group.free[~np.isnan(score[group.free])]
            order = group.spared(free[np.argsort(score[free], kind="stable")])
            for rank, unit in enumerate(order):
                value = score[unit] if scope == "global" else (rank + 1) / len(group)
                entries.append((value, group.name, int(unit)))
        if not entries:
            raise ValueError(
                "model must have channels that can be removed, got none: " + "; ".join(channels.reasons_held())
            )
        self.entries = sorted(entries, key=lambda entry: entry[0])

    def __len__(self) -> int:
        return len(self.entries)

    def finish(self, model: nn.Module, level: int) -> tuple[nn.Module, Plan]:
        compensated, plan = copy.deepcopy(model), self.plan(level)
        fold_constants(compensated, self.channels, plan, self.constant)
        return compensated, with_new_biases(plan, model, compensated, self.channels)

    def plan(self, level: int) -> Plan:
        taken: dict[str, list[int]] = {}
        for _, name, unit in self.entries[:level]:
            taken.setdefault(name, []).append(unit)
        rounded = {}
        for name, units in taken.items():
            group = self.channels.group(name)
            surplus = (-(len(group) - len(units))) % self.round_to  # this many stay after all: the best of those taken
            rounded[name] = units[: len(units) - surplus] if surplus < len(units) else []
        return self.channels.plan_units({name: units for name, units in rounded.items() if units})
