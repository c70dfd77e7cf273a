"""Pruning a trained network, and training what is left of it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from multipath_gcn.files import write_atomically
from multipath_gcn.prune import (
    Budget,
    Compressed,
    Cost,
    Method,
    Plan,
    StagedMethod,
    Train,
    compress,
    cost,
    layer_changes,
    load_pruned,
    reestimate_norms,
    save_pruned,
)
from multipath_gcn.prune.budget import timed_in_turns


class Task(Protocol):
    """What pruning asks of a task: what :func:`~multipath_gcn.fit.fit` does, and calibration data."""

    in_channels: int
    out_channels: int
    steps: int

    def check(self, model: nn.Module) -> None: ...
    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]: ...
    def evaluate(self, model: nn.Module) -> dict[str, float]: ...
    def calibration(self, count: int, batch_size: int) -> list[tuple[Any, ...]]: ...


class PruneTask:
    """The task of a trained network, which is pruned before the first step.

    Args:
        dataset: what ``task`` is made for.
        task: makes the task that the network was trained on, of the data set and a device.
        method: of :func:`~multipath_gcn.prune.compress`, or a :class:`~multipath_gcn.prune.StagedMethod`, which trains.
        budget: what may be left; without limits for a method that trains, as its own arguments say what goes.
        calibration: training examples for methods that want data, and for statistics of batch norms.
        batch_size: of calibration batches, and of the call that a latency is measured on.
        reestimate: whether batch norms count their statistics again; not after a method that trains.
        device: where steps are computed.

    Attributes:
        facts: of the pruning, after :meth:`prune`: what was asked and achieved, costs before and after (latency: of a
            calibration batch), scores "before" it, "straight" after it and after "reestimated" statistics, and layers.
    """

    def __init__(
        self,
        dataset: Any,
        task: Callable[..., Task],
        method: Callable[..., Method] | StagedMethod,
        budget: Budget,
        calibration: int = 512,
        batch_size: int = 64,
        reestimate: bool = True,
        device: Any = "cpu",
    ):
        for name, value in (("calibration", calibration), ("batch_size", batch_size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        self.staged = hasattr(method, "compress")
        if not self.staged:
            budget.check_limits()
        elif budget.asked or budget.round_to > 1:
            raise ValueError(
                f"budget must be empty for {type(method).__name__}, which has limits of its own, got {budget}"
            )
        self.task, self.method, self.budget = task(dataset, device=device), method, budget
        self.batches = self.task.calibration(calibration, min(batch_size, calibration))
        self.reestimate = reestimate
        self.in_channels, self.out_channels, self.steps = self.task.in_channels, self.task.out_channels, self.task.steps
        self.facts: dict[str, Any] = {}

    def check(self, model: nn.Module) -> None:
        self.task.check(model)

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        return self.task.train_losses(model, epoch)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return self.task.evaluate(model)

    def prune(self, model: nn.Module, directory: Path, train: Train) -> nn.Module:
        """What is left of a network; a run that was begun before finds it in its directory.

        Args:
            model: the trained network, on the task's device.
            directory: gets ``architecture.json``, ``weights.npz`` and ``pruning.json``.
            train: for methods that train.
        """
        told = directory / "pruning.json"
        if told.is_file():  # written last
            self.facts = json.loads(told.read_bytes())
            if "layers" not in self.facts:
                raise ValueError(f"{told} must be of this version, it lists no layers: remove {directory}")
            return load_pruned(directory, model)
        scores = {"before": self._scores(model)}
        example = self.batches[0]
        found, held, costs = self._compressed(model, train)
        scores["straight"] = self._scores(found.model)
        if self.reestimate and not self.staged:
            reestimate_norms(found.model, self.batches)
            scores["reestimated"] = self._scores(found.model)
        save_pruned(directory, found.model, found.plans)
        if costs is None:
            costs = tuple(cost(each, *example) for each in (model, found.model))
        if costs[0].latency is None:
            costs = timed_in_turns(costs, (model, found.model), example)
        self.facts = {
            "asked": found.asked,
            "achieved": found.achieved,
            "before": asdict(costs[0]),
            "after": asdict(costs[1]),
            "removed": _removed(found.plans),
            "largest_difference": found.difference,
            "held": held,
            "scores": scores,
            "layers": layer_changes(model, found.model, *example),
        }
        write_atomically(told, lambda file: file.write(json.dumps(self.facts, indent=1).encode()))
        return found.model

    def _compressed(self, model: nn.Module, train: Train) -> tuple[Compressed, list[str], tuple[Cost, Cost] | None]:
        """What is left, what was held, and costs before and after where they are known."""
        example = self.batches[0]
        if self.staged:
            return self.method.compress(model, example, train), [], None
        found = compress(model, example, self.budget, self.method, self.batches, reestimate=False)
        parts = found.model, [found.plan], found.asked, found.achieved, found.verification.difference
        return Compressed(*parts), found.held, (found.before, found.after)

    def _scores(self, model: nn.Module) -> dict[str, float]:
        scores = self.task.evaluate(model)
        return {name: scores[name] for name in ("valid", "test")}


def _removed(plans: list[Plan]) -> dict[str, int]:
    """Channels that went from every group of them."""
    counts: Counter[str] = Counter()
    for plan in plans:
        counts.update({name: len(units) for name, units in plan.removed.items()})
    return dict(counts)
