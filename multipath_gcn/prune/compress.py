"""A model within a budget: found, planned, proven, compensated, counted again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from multipath_gcn.prune.budget import Budget, Cost, cost, fit, timed_in_turns
from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.find import find_channels
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.reestimate import reestimate_norms
from multipath_gcn.prune.verify import Verification, verify


class Method(Protocol):
    """What decides which channels go: levels from 0, nothing, to ``len``, as much as it can.

    ``left_alone`` says which channels it does not judge, and why.
    """

    left_alone: Sequence[str]

    def __len__(self) -> int: ...

    def plan(self, level: int) -> Plan:
        """How many channels go at a level, for the budget."""

    def finish(self, model: nn.Module, level: int) -> tuple[nn.Module, Plan]:
        """A copy of the model, compensated for what is about to go, and which channels these are."""


@dataclass(frozen=True)
class Pruned:
    """A smaller model and what became of it.

    Args:
        model: the new model; the one it was made of is as it was.
        plan: what was removed.
        before, after: what the two cost.
        asked, achieved: parts of what is limited; ``{"all": True}``, and parts of parameters and multiply-adds.
        verification: differences of the outputs found in the proof of the plan.
        held: what kept channels from being removed.
    """

    model: nn.Module
    plan: Plan
    before: Cost
    after: Cost
    asked: dict[str, float | bool]
    achieved: dict[str, float]
    verification: Verification
    held: list[str]


def compress(
    model: nn.Module,
    inputs: tuple[Any, ...],
    budget: Budget,
    method: Callable[..., Method],
    batches: Iterable[tuple[Any, ...]] | None = None,
    reestimate: bool = True,
) -> Pruned:
    """Removes channels until a budget is met.

    The plan is proven on the compensated model before anything is removed: see :func:`~multipath_gcn.prune.verify`.

    Args:
        model: any module; it is not changed.
        inputs: what its ``forward`` takes: an example, on which costs are counted and timed.
        budget: what may be left.
        method: called with the model, its channels, ``batches`` and the budget's ``round_to``, such as
            ``partial(by_magnitude, p=1)``.
        batches: calibration data, tuples like ``inputs``. Data-free methods need none.
        reestimate: whether batch norms count their statistics again on ``batches``, where there are some.

    Raises:
        ValueError: for a budget that cannot be met, a model without channels to remove, or one that does not run.
        CannotPrune: for a removal that cannot be proven.
    """
    budget.check_limits()
    batches = None if batches is None else list(batches)
    channels = find_channels(model, *inputs)
    chosen = method(model, channels, batches=batches, round_to=budget.round_to)
    timed = budget.latency is not None
    level, found = fit(model, inputs, budget, chosen.plan, len(chosen))
    while True:  # which channels go, and biases that compensation makes, may cost more than was planned with
        smaller, plan = chosen.finish(model, level)
        verification = verify(smaller, plan, *inputs)
        cut(smaller, plan)
        before, after = found.before, cost(smaller, *inputs)
        if timed or level == len(chosen) or budget.is_met(before, after):
            break
        level = min(len(chosen), level + max(1, len(chosen) // 100))
    if not plan.count:
        raise ValueError(f"budget must let something go, {budget} takes nothing: {len(chosen)} channels could")
    if timed:
        before, after = timed_in_turns((before, after), (model, smaller), inputs)
    if reestimate and batches:
        reestimate_norms(smaller, batches)
    return Pruned(
        smaller, plan, before, after, budget.asked, budget.achieved(before, after), verification,
        channels.reasons_held() + list(chosen.left_alone),
    )  # fmt: skip
