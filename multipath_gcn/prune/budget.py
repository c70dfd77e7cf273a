"""How small a model has to become, and the removal that makes it so."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn

from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.latency import milliseconds
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
        latency: whether to measure milliseconds of a call on ``inputs``, see
            :func:`~multipath_gcn.prune.latency.milliseconds`.
    """
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, macs(model, *inputs), milliseconds([model], inputs)[0] if latency else None)


def timed_in_turns(costs: Sequence[Cost], models: Sequence[nn.Module], inputs: tuple[Any, ...]) -> tuple[Cost, ...]:
    """Costs of models with their latency, measured in turns."""
    times = milliseconds(models, inputs)
    return tuple(replace(found, latency=time) for found, time in zip(costs, times, strict=True))


@dataclass(frozen=True)
class Budget:
    """What may be left of a model: parts of what it costs now; all that are given must be met.

    Args:
        parameters, macs, latency: between 0 and 1. Latency is measured on this machine.
        all: instead of these: whatever a method can remove, such as all channels that are inactive, goes.
        round_to: numbers of channels are multiples of this in every layer, where that many are left to remove.

    Raises:
        ValueError: for a limit outside (0, 1), or one beside ``all``.
    """

    parameters: float | None = None
    macs: float | None = None
    latency: float | None = None
    round_to: int = 1
    all: bool = False

    def __post_init__(self):
        for name in LIMITS:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < 1):
                raise ValueError(f"budget.{name} must lie between 0 and 1, got {value!r}")
        if not isinstance(self.all, bool):
            raise ValueError(f"budget.all must be true or false, got {self.all!r}")
        if self.limits and self.all:
            raise ValueError(f"budget.all must be false beside a limit, got {self.limits}")
        if not isinstance(self.round_to, int) or self.round_to < 1:
            raise ValueError(f"budget.round_to must be an integer of at least 1, got {self.round_to!r}")

    def check_limits(self) -> None:
        """Raises a ValueError where nothing is asked for."""
        if not self.asked:
            raise ValueError(f"budget must limit one of {list(LIMITS)}, or be all=true, got none")

    @property
    def asked(self) -> dict[str, float | bool]:
        return {"all": True} if self.all else self.limits

    @property
    def limits(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in LIMITS if getattr(self, name) is not None}

    def is_met(self, before: Cost, after: Cost) -> bool:
        parts = self.achieved(before, after)
        return all(parts[name] <= limit for name, limit in self.limits.items())

    def achieved(self, before: Cost, after: Cost) -> dict[str, float]:
        """What is left, as parts, of what is limited; of parameters and multiply-adds, if nothing is."""
        return {name: getattr(after, name) / getattr(before, name) for name in self.limits or LIMITS[:2]}


LIMITS = tuple(field.name for field in fields(Budget) if field.name not in ("round_to", "all"))


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
    before = cost(model, *inputs)

    def leaves(level: int) -> Fit:
        plan, smaller = plan_of(level), copy.deepcopy(model)
        cut(smaller, plan)
        found = before, cost(smaller, *inputs)
        return Fit(plan, *(found if budget.latency is None else timed_in_turns(found, (model, smaller), inputs)))

    low, high, best = 0, levels, leaves(levels)
    if not budget.is_met(best.before, best.after):
        least = {name: round(part, 4) for name, part in budget.achieved(best.before, best.after).items()}
        raise ValueError(
            f"budget must be one that can be met, got {budget.limits}; with all removed that can be, {least} are left"
        )
    while high - low > 1 and not budget.all:
        middle = (low + high) // 2
        found = leaves(middle)
        if budget.is_met(found.before, found.after):
            high, best = middle, found
        else:
            low = middle
    return high, best
