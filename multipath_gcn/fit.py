"""The training loop: epochs, selection on validation, early stopping, history, checkpoint and exact resume.

It knows neither graphs, images nor Hydra. A task is anything with ``train_losses(model, epoch)``, which yields the loss
of each step of an epoch, and ``evaluate(model) -> {"train", "valid", "test", "valid_loss"}``. What a task learns
itself, such as which examples it has asked the labels of, is kept where it has ``state_dict``.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from multipath_gcn.checkpoint import Checkpoint
from multipath_gcn.files import write_atomically
from multipath_gcn.machine import PeakMemory

Row = dict[str, float]
COLUMNS = {"epoch", "loss", "lr", "train", "valid", "test", "valid_loss", "seconds"}


class Task(Protocol):
    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]: ...

    def evaluate(self, model: nn.Module) -> dict[str, float]: ...


@dataclass
class Progress:
    """Everything about a run that is not in the state of the model, the optimiser or a generator."""

    history: list[Row]
    best: Row | None = None
    best_weights: dict[str, Tensor] | None = None
    peak_mib: float = 0.0
    restarts: int = 0
    setup_seconds: float = 0.0

    @property
    def epoch(self) -> int:
        return len(self.history)

    def epochs_since_best(self) -> int:
        return self.epoch - int(self.best["epoch"]) if self.best else 0


def fit(
    task: Task,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    fabric: Fabric,
    directory: Path,
    epochs: int,
    patience: int | None = None,
    ema: float | None = None,
    schedulers: Iterable[LRScheduler] = (),
    measures: Mapping[str, Callable[[nn.Module], float]] = MappingProxyType({}),
    checkpoint_seconds: float = 30.0,
    setup_seconds: float = 0.0,
    on_epoch: Callable[[Row], None] = lambda row: None,
    on_step: Callable[[int, int], None] = lambda epoch, step: None,
) -> Progress:
    """Trains to the end, from the checkpoint in ``directory`` if there is one.

    The best epoch is the one with the highest validation score, of equals the one with the lowest validation loss, of
    these the first. Restarted at the same thread count, a killed run ends in the same numbers as an undisturbed one:
    epochs since the last checkpoint are simply repeated. Where several processes train, each calls this; the first one
    writes.

    Args:
        task: what is trained.
        model, optimizer: as ``fabric.setup`` returns them.
        fabric: device, precision and loggers.
        directory: the run directory, which exists; gets ``checkpoint.pt`` and ``history.csv``.
        epochs: how many at most, 1 or more.
        patience: stops after so many epochs without a new best one; ``None`` for never.
        ema: decay in [0, 1) of an exponential moving average of the weights and of the norms' statistics, updated
            after every step, which is then what is evaluated and kept; ``None`` for none. The decay of update t is at
            most t / (t + 9), so that the first steps are forgotten.
        schedulers: each is stepped after every epoch, a ``ReduceLROnPlateau`` with the validation score; a
            ``OneCycleLR`` after every step.
        measures: what else is written of the model (with ``ema``, of the average) into the row of every epoch, under
            these names.
        checkpoint_seconds: least time between two checkpoints, in seconds; 0 for one after every epoch.
        setup_seconds: what this start took before training; adds up over restarts.
        on_epoch: called with the row of each new epoch.
        on_step: called after each step with the numbers of the epoch and of the step in it, from 1.

    Raises:
        ValueError: for ``epochs`` or ``patience`` below 1, ``ema`` outside [0, 1) or with weights of 16 bits, or a
            measure of the name of a column.
        FloatingPointError: if the loss is not finite.
        CorruptCheckpoint: if the checkpoint cannot be read; it is kept under another name.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if patience is not None and patience < 1:
        raise ValueError(f"patience must be None or at least 1, got {patience}")
    if ema is not None and not 0 <= ema < 1:
        raise ValueError(f"ema must be None or in [0, 1), got {ema}")
    if taken := sorted(measures.keys() & COLUMNS):
        raise ValueError(f"measures must have other names than the columns of the history, got {taken}")
    schedulers = list(schedulers)
    average, judged = None, model
    if ema is not None:
        _check_precision(model)
        average = AveragedModel(model.module, multi_avg_fn=_moving_average(ema), use_buffers=True)
        judged = fabric.setup_module(average.module)
    parts = {
        "model": model,
        "optimizer": optimizer,
        "precision": fabric.strategy.precision,  # which may scale gradients
    } | ({} if average is None else {"average": average})
    parts |= {"task": task} if hasattr(task, "state_dict") else {}
    checkpoint = Checkpoint(directory, parts | {f"scheduler{i}": s for i, s in enumerate(schedulers)})
    progress = checkpoint.load(fabric.device, lambda record: Progress(**record))
    if progress is None:
        progress = Progress([])
    else:
        progress.restarts += 1
    progress.setup_seconds += setup_seconds
    memory = PeakMemory(fabric.device, progress.peak_mib)

    each_step = [scheduler for scheduler in schedulers if isinstance(scheduler, OneCycleLR)]
    each_epoch = [scheduler for scheduler in schedulers if scheduler not in each_step]

    def after_step(epoch: int, step: int) -> None:
        if average is not None:
            average.update_parameters(model)
        for scheduler in each_step:
            scheduler.step()
        on_step(epoch, step)

    def save() -> None:
        progress.peak_mib = memory.peak_mib()
        if fabric.is_global_zero:  # what processes that train together differ in is not kept
            checkpoint.save(vars(progress))
            _write_history(progress.history, directory)

    saved_at = time.perf_counter()
    while progress.epoch < epochs and not (patience and progress.epochs_since_best() >= patience):
        row = _one_epoch(task, model, judged, optimizer, fabric, progress.epoch + 1, after_step)
        row |= {name: float(measure(judged)) for name, measure in measures.items()}
        progress.history.append(row)
        if progress.best is None or _merit(row) > _merit(progress.best):
            progress.best = row
            progress.best_weights = {key: value.detach().clone() for key, value in judged.state_dict().items()}
        for scheduler in each_epoch:
            scheduler.step(row["valid"]) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
        fabric.log_dict(row, step=progress.epoch)
        on_epoch(row)
        if time.perf_counter() - saved_at >= checkpoint_seconds:
            save()
            saved_at = time.perf_counter()
    save()
    return progress


def _one_epoch(
    task: Task,
    model: nn.Module,
    judged: nn.Module,
    optimizer: Optimizer,
    fabric: Fabric,
    epoch: int,
    after_step: Callable[[int, int], None],
) -> Row:
    start, lr = time.perf_counter(), optimizer.param_groups[0]["lr"]
    losses = []
    for step, loss in enumerate(task.train_losses(model, epoch), start=1):
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        after_step(epoch, step)
        losses.append(loss.detach())
    for network in {id(m): m for m in (model, judged)}.values():
        average_statistics(network, fabric)
    loss = fabric.all_reduce(torch.stack(losses).mean()).item()  # of several processes, the mean
    if not math.isfinite(loss):
        raise FloatingPointError(f"loss must be finite, got {loss} in epoch {epoch}; try a smaller lr")
    row: dict[str, Any] = {"epoch": epoch, "loss": loss, "lr": lr} | task.evaluate(judged)
    return row | {"seconds": time.perf_counter() - start}


def average_statistics(model: nn.Module, fabric: Fabric) -> None:
    """Of norms: of several processes, each has counted them on examples of its own."""
    if fabric.world_size == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.copy_(fabric.all_reduce(buffer, reduce_op="mean"))


def _check_precision(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype.itemsize < 4:
            rule = "None where weights have 16 bits, too few for its small steps: take a mixed precision"
            raise ValueError(f"ema must be {rule}, got {name} of type {parameter.dtype}")


def _moving_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    @torch.no_grad()
    def update(average: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        kept = min(decay, float((updates + 1) / (updates + 10)))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - kept)
        else:  # counters
            torch._foreach_copy_(average, current)

    return update


def _merit(row: Row) -> tuple[float, float]:
    return row["valid"], -row["valid_loss"]


def _write_history(history: list[Row], directory: Path) -> None:
    lines = [",".join(history[0]), *(",".join(map(str, row.values())) for row in history)]
    write_atomically(directory / "history.csv", lambda file: file.write(("\n".join(lines) + "\n").encode()))
