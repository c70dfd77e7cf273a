"""How small a model has to become, and the removal that makes it so."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.evaluation import evaluated
from multipath_gcn.prune.macs import macs
from multipath_gcn.prune.plan import Plan


@dataclass(frozen=True)
class Cost:
    """Of one call: parameters, multiply-adds, and milliseconds (None where they were not measured)."""

    parameters: int
    macs: int
    latency: float | None = None


def cost(model: nn.Module, *inputs: Any, latency: bool = False) -> Cost:
    """What a call of a model costs; see :func:`~multipath_gcn.prune.macs.macs` for what is counted.

    Args:
        latency: whether to measure milliseconds of a call on ``inputs``, in evaluation mode without gradients: the
            median of at least ten after a warm-up, on as many threads as torch uses now.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, macs(model, *inputs), milliseconds(model, *inputs) if latency else None)


def milliseconds(model: nn.Module, *inputs: Any, seconds: float = 0.3) -> float:
    """The median time of a call, over at least ten."""
    evaluated(model, inputs)
    times: list[float] = []
    while len(times) < 10 or (sum(times) < seconds and len(times) < 1000):
        begin = time.perf_counter()
        evaluated(model, inputs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times))


@dataclass(frozen=True)
class Budget:
    """What may be left of a model: parts of what it costs now. At least one of them; all that are given must be met.

    Args:
        parameters, macs, latency: between 0 and 1. Latency is measured on this machine.
        round_to: numbers of channels are multiples of this in every layer, where that many are left to remove.

    Raises:
        ValueError: for no limit at all, or one outside (0, 1).
    """

    parameters: float | None = None
    macs: float | None = None
    latency: float | None = None
    round_to: int = 1

    def __post_init__(self):
        for name in LIMITS:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < 1):
                raise ValueError(f"budget.{name} must lie between 0 and 1, got {value!r}")
        if not self.limits:
            raise ValueError(f"budget must limit one of {list(LIMITS)}, got none")
        if not isinstance(self.round_to, int) or self.round_to < 1:
            raise ValueError(f"budget.round_to must be an integer of at least 1, got {self.round_to!r}")

    @property
    def limits(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in LIMITS if getattr(self, name) is not None}

    def is_met(self, before: Cost, after: Cost) -> bool:
        parts = self.achieved(before, after)
        return all(parts[name] <= limit for name, limit in self.limits.items())

    def achieved(self, before: Cost, after: Cost) -> dict[str, float]:
        """What is left, as parts, of what is limited."""
        return {name: getattr(after, name) / getattr(before, name) for name in self.limits}


LIMITS = tuple(field.name for field in fields(Budget) if field.name != "round_to")


@dataclass(frozen=True)
class Fit:
    """The plan that meets a budget, and what it leaves."""

    plan: Plan
    before: Cost
    after: Cost


def fit(
    model: nn.Module, inputs: tuple, budget: Budget, plan_of: Callable[[int], Plan], levels: int
) -> tuple[int, Fit]:
    """The least level of removal that meets the budget, by bisection, and what it leaves.

    Args:
        plan_of: the plan of a level, level 0 removing nothing and each at least what the one before does.
        levels: the highest level.

    Raises:
        ValueError: for a budget that even the highest level misses, with what it leaves.
    """
    timed = budget.latency is not None
    before = cost(model, *inputs, latency=timed)

    def leaves(level: int) -> Fit:
        plan, smaller = plan_of(level), copy.deepcopy(model)
        cut(smaller, plan)
        return Fit(plan, before, cost(smaller, *inputs, latency=timed))

    low, high, best = 0, levels, leaves(levels)
    if not budget.is_met(before, best.after):
        least = {name: round(part, 4) for name, part in budget.achieved(before, best.after).items()}
        raise ValueError(
            f"budget must be one that can be met, got {budget.limits}; with all removed that can be, {least} are left"
        )
    while high - low > 1:
        middle = (low + high) // 2
        found = leaves(middle)
        if budget.is_met(before, found.after):
            high, best = middle, found
        else:
            low = middle
    return high, best
