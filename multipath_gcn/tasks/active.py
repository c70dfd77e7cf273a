"""Active learning: each epoch is a round that asks for labels, trains on all that it has, and scores."""

import copy
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import is_wrapped
from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.data.image_dataset import ImageDataset
from multipath_gcn.data.node_dataset import NodeDataset
from multipath_gcn.files import write_atomically
from multipath_gcn.models.grouped_ensemble import GroupedEnsemble
from multipath_gcn.nn.multipath_gcn import check_has_path_scores
from multipath_gcn.tasks.pools import ImagePool, NodePool
from multipath_gcn.tasks.query import QUERIES, choose

HYPOTHESES = ("ensemble", "dropout", "paths")
_CANDIDATES, _SAMPLE = 1000, 300  # of the pool, drawn anew for every query


class ActiveTask:
    r"""Asks for the labels that tell the hypotheses apart which agree with those it has.

    Round 1 has ``initial`` labels of the pool, drawn at random; every later one asks for ``count`` more, chosen among
    1,000 candidates with a sample of 300 (both drawn from the pool) by the hypotheses as they are. Networks go on
    training from where they are. Scores of a round are accuracies, of an ensemble those of its mean probabilities;
    those of the run are areas under the curve of these over the number of labels, by trapezoids, divided by its length:
    mean accuracies, comparable between runs of as many rounds (leave ``patience`` alone).

    Args:
        dataset: nodes, whose pool are all outside validation and test, or images, whose pool is the training split.
        query: name of a rule of :mod:`multipath_gcn.tasks.query`.
        hypotheses: ``"ensemble"``: networks that begin with different weights, trained as one
            (:class:`~multipath_gcn.models.GroupedEnsemble`); ``"dropout"``: passes with dropout; ``"paths"``: those of
            a :class:`~multipath_gcn.nn.MultiPathGCN`.
        members: M, of an ensemble or passes.
        initial: number of labels to begin with.
        count: number of labels of a query.
        rounds: how many, the first included: the number of epochs.
        steps: training steps of a round.
        batch_size: labelled examples of a step, at most; ``None`` for all.
        most: examples of the pool, of validation and of test, at most each, drawn at random; ``None`` for all.
        device: where steps are computed.

    Attributes:
        in_channels, out_channels, steps: as of every task.
        labelled: int64, positions in the pool, in the order in which they were asked for.

    Raises:
        ValueError: for an unknown name, a number below 1, or more labels in all than the pool has.
    """

    def __init__(
        self,
        dataset: NodeDataset | ImageDataset,
        query: str = "gibbs_vote",
        hypotheses: str = "ensemble",
        members: int = 8,
        initial: int = 10,
        count: int = 10,
        rounds: int = 10,
        steps: int = 50,
        batch_size: int | None = None,
        most: int | None = None,
        device: torch.device | str = "cpu",
    ):
        if not isinstance(dataset, NodeDataset | ImageDataset):
            kind = type(dataset).__name__
            raise ValueError(f"dataset must be a NodeDataset or an ImageDataset for task=active, got {kind}")
        for name, value, known in (("query", query, list(QUERIES)), ("hypotheses", hypotheses, list(HYPOTHESES))):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        numbers = {"initial": initial, "count": count, "rounds": rounds, "steps": steps, "members": members}
        limits = {"batch_size": batch_size, "most": most}
        for name, number in (numbers | {name: limit for name, limit in limits.items() if limit is not None}).items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1 + (name == "members"):
                raise ValueError(f"{name} must be an integer of at least {1 + (name == 'members')}, got {number!r}")
        self.device = torch.device(device)
        self.pool = (NodePool if isinstance(dataset, NodeDataset) else ImagePool)(dataset, most, self.device)
        size, budget = len(self.pool.labels["train"]), initial + count * (rounds - 1)
        if budget > size:
            rule = f"{initial} + {count} * {rounds - 1} = {budget}"
            raise ValueError(f"initial + count * (rounds - 1) must be at most the pool's {size} examples, got {rule}")
        self.dataset_name, self.rounds = dataset.name, rounds
        if isinstance(dataset, ImageDataset) and 1 in (initial, batch_size):
            raise ValueError(
                "initial and batch_size must be at least 2 for images: norms learn nothing from one, got 1"
            )
        self.query, self.hypotheses, self.size = query, hypotheses, members
        self.count, self.steps, self.batch_size = count, steps, batch_size
        self.in_channels, self.out_channels = self.pool.in_channels, self.pool.out_channels
        self.labelled = torch.randperm(size)[:initial]
        self._query_seconds = 0.0

    def check(self, model: nn.Module) -> None:
        """Refuses a model that does not take the examples, or has no such hypotheses."""
        self.pool.check(model)
        if self.hypotheses == "paths":
            if not hasattr(model, "path_scores") or len(model.paths) < 2:
                rule = "have several paths for hypotheses=paths, such as model=multipath"
                raise ValueError(f"model must {rule}, got {type(model).__name__}")
            check_has_path_scores(model.combine)
        if self.hypotheses == "dropout":
            with torch.no_grad():
                one, other = (self._with_dropout(model)(*self.pool.example) for _ in range(2))
            if one.equal(other):
                raise ValueError(f"model must have dropout for hypotheses=dropout, got {type(model).__name__} without")

    def prepare(self, model: nn.Module) -> nn.Module:
        """For an ensemble, ``size`` networks like the model that begin with weights of their own."""
        if self.hypotheses != "ensemble":
            return model
        return GroupedEnsemble([model, *(_anew(model) for _ in range(self.size - 1))], *self.pool.example)

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        """Asks for labels, from the second epoch on; then the loss of every step, summed over members."""
        if epoch > self.rounds:
            raise ValueError(f"rounds must be at least the number of epochs, got {self.rounds} and epoch {epoch}")
        if epoch > 1:
            self._ask(model)
        size = len(self.labelled) if self.batch_size is None else min(self.batch_size, len(self.labelled))
        for _ in range(self.steps):
            model.train()
            positions = self.labelled[torch.randperm(len(self.labelled))[:size]]
            scores = self.pool.outputs(model, "train", positions)
            labels = self.pool.labels["train"][positions.to(self.device)]
            members = scores if scores.dim() > 2 else scores[None]
            yield len(members) * F.cross_entropy(members.flatten(0, 1), labels.repeat(len(members)))

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Accuracies, of an ensemble those of its mean probabilities: ``train`` of what is labelled; the cross-entropy
        on the validation examples as ``valid_loss``; the number of labels, and seconds of the query before."""
        model.eval()
        row = {}
        for part in ("train", "valid", "test"):
            positions = self.labelled if part == "train" else torch.arange(len(self.pool.labels[part]))
            labels = self.pool.labels[part][positions.to(self.device)]
            scores = self.pool.outputs(model, part, positions).float()
            mean = scores.softmax(-1).mean(0) if scores.dim() > 2 else scores.softmax(-1)
            row[part] = (mean.argmax(-1) == labels).float().mean().item()
            if part == "valid":
                row["valid_loss"] = F.nll_loss(mean.clamp_min(1e-12).log(), labels).item()
        return row | {"labels": len(self.labelled), "query_seconds": self._query_seconds}

    def finish(self, model: nn.Module, history: list[dict[str, float]], directory: Path) -> dict[str, Any]:
        """The scores are areas; what the last round has is under ``last_round``. Writes ``labels.csv``: which nodes
        or images were asked for, in which round."""
        from multipath_gcn.report.learning_curves import plot_learning_curves  # here: matplotlib takes a second

        labels = [row["labels"] for row in history]
        curve = labels, [row["test"] for row in history]
        plot_learning_curves({self.dataset_name: {self.query: [curve]}}, directory / "figure.png")
        areas = {part: area(labels, [row[part] for row in history]) for part in ("train", "valid", "test")}
        last = {part: history[-1][part] for part in areas} | {"labels": labels[-1]}
        seconds = [row["query_seconds"] for row in history[1:]] or [0.0]
        rounds = {"best_epoch": len(history), "paper": {"test": areas["test"], "epoch": len(history)}}
        self._write_asked(directory)
        return areas | rounds | {"metric": "area", "last_round": last, "seconds_per_query": sum(seconds) / len(seconds)}

    def _write_asked(self, directory: Path) -> None:
        first = len(self.labelled) - self.count * (self.rounds - 1)
        rounds = [1 + max(0, number - first) // self.count + (number >= first) for number in range(len(self.labelled))]
        ids = self.pool.ids[self.labelled].tolist()
        lines = ["round,id", *(f"{at},{example}" for at, example in zip(rounds, ids, strict=True))]
        write_atomically(directory / "labels.csv", lambda file: file.write(("\n".join(lines) + "\n").encode()))

    def state_dict(self) -> dict[str, Tensor]:
        return {"labelled": self.labelled}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.labelled = state["labelled"].cpu()

    @torch.no_grad()
    def _ask(self, model: nn.Module) -> None:
        start = time.perf_counter()
        pool = len(self.pool.labels["train"])
        free = torch.ones(pool, dtype=torch.bool)
        free[self.labelled] = False
        drawn = torch.randperm(pool)
        candidates, sample = drawn[free[drawn]][: max(_CANDIDATES, self.count)], drawn.flip(0)[:_SAMPLE]
        candidates = torch.cat([candidates, sample])  # whose outputs are computed together
        found = self._probabilities(model, candidates)
        asked = choose(self.query, self.count, found[:, : -len(sample)], found[:, -len(sample) :])
        self.labelled = torch.cat([self.labelled, candidates[asked.cpu()]])
        self._query_seconds = time.perf_counter() - start

    def _probabilities(self, model: nn.Module, positions: Tensor) -> Tensor:
        """[M, n, K]"""
        ask = partial(self.pool.outputs, part="train", positions=positions)
        if self.hypotheses == "dropout":
            scores = torch.stack([ask(self._with_dropout(model)) for _ in range(self.size)])
            model.eval()
        elif self.hypotheses == "ensemble":
            scores = ask(model.eval())
        else:
            scores = ask(partial(_path_scores, model.eval()))
        return scores.float().softmax(-1)

    def _with_dropout(self, model: nn.Module) -> nn.Module:
        """In training mode but for norms, whose statistics are not to change."""
        model.train()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.eval()
        return model


def area(labels: list[float], scores: list[float]) -> float:
    """Under the curve, by trapezoids, over the length of the axis."""
    if len(labels) == 1:
        return scores[0]
    steps = zip(labels[:-1], labels[1:], scores[:-1], scores[1:], strict=True)
    return sum((b - a) * (s + t) / 2 for a, b, s, t in steps) / (labels[-1] - labels[0])


def _path_scores(model: nn.Module, x: Any, graph: Any) -> Tensor:
    """In the type of the weights, as a call of the wrapped model is."""
    network = model.module if is_wrapped(model) else model
    kind = next(network.parameters()).dtype
    return network.path_scores(x.to(kind) if isinstance(x, Tensor) else x, graph)


def _anew(model: nn.Module) -> nn.Module:
    """A copy with weights drawn again."""
    copied = copy.deepcopy(model)
    _reset(copied)
    return copied


def _reset(module: nn.Module) -> None:
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()  # which knows what its parts begin with
        return
    for child in module.children():
        _reset(child)
