"""The training loop: epochs, selection on validation, early stopping, history, checkpoint and exact resume.

It knows neither graphs nor Hydra. A task is anything with ``train_loss(model, epoch) -> Tensor`` and
``evaluate(model) -> {"train", "valid", "test", "valid_loss"}``.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from multipath_gcn.checkpoint import Checkpoint
from multipath_gcn.files import write_atomically
from multipath_gcn.machine import PeakMemory

Row = dict[str, float]


class Task(Protocol):
    def train_loss(self, model: nn.Module, epoch: int) -> Tensor: ...

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
    schedulers: Iterable[LRScheduler] = (),
    checkpoint_seconds: float = 30.0,
    setup_seconds: float = 0.0,
    on_epoch: Callable[[Row], None] = lambda row: None,
) -> Progress:
    """Trains to the end, from the checkpoint in ``directory`` if there is one.

    The best epoch is the one with the highest validation score, of equals the one with the lowest validation loss, of
    these the first. Restarted at the same thread count,
    a killed run ends in the same numbers as an undisturbed one: epochs since the last checkpoint are simply repeated.

    Args:
        task: what is trained.
        model, optimizer: as ``fabric.setup`` returns them.
        fabric: device, precision and loggers.
        directory: the run directory, which exists; gets ``checkpoint.pt`` and ``history.csv``.
        epochs: how many at most, 1 or more.
        patience: stops after so many epochs without a new best one; ``None`` for never.
        schedulers: each is stepped after every epoch, a ``ReduceLROnPlateau`` with the validation score.
        checkpoint_seconds: least time between two checkpoints, in seconds; 0 for one after every epoch.
        setup_seconds: what this start took before training; adds up over restarts.
        on_epoch: called with the row of each new epoch.

    Raises:
        ValueError: for ``epochs`` or ``patience`` below 1.
        FloatingPointError: if the loss is not finite.
        CorruptCheckpoint: if the checkpoint cannot be read; it is kept under another name.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if patience is not None and patience < 1:
        raise ValueError(f"patience must be None or at least 1, got {patience}")
    schedulers = list(schedulers)
    parts = {
        "model": model,
        "optimizer": optimizer,
        "precision": fabric.strategy.precision,
    }  # which may scale gradients
    checkpoint = Checkpoint(directory, parts | {f"scheduler{i}": s for i, s in enumerate(schedulers)})
    progress = checkpoint.load(fabric.device, lambda record: Progress(**record))
    if progress is None:
        progress = Progress([])
    else:
        progress.restarts += 1
    progress.setup_seconds += setup_seconds
    memory = PeakMemory(fabric.device, progress.peak_mib)

    saved_at = time.perf_counter()
    while progress.epoch < epochs and not (patience and progress.epochs_since_best() >= patience):
        row = _one_epoch(task, model, optimizer, fabric, progress.epoch + 1)
        progress.history.append(row)
        if progress.best is None or _merit(row) > _merit(progress.best):
            progress.best = row
            progress.best_weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
        for scheduler in schedulers:
            scheduler.step(row["valid"]) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
        fabric.log_dict(row, step=progress.epoch)
        on_epoch(row)
        if time.perf_counter() - saved_at >= checkpoint_seconds:
            _save(checkpoint, progress, memory, directory)
            saved_at = time.perf_counter()
    _save(checkpoint, progress, memory, directory)
    return progress


def _one_epoch(task: Task, model: nn.Module, optimizer: Optimizer, fabric: Fabric, epoch: int) -> Row:
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    loss = task.train_loss(model, epoch)
    fabric.backward(loss)
    lr = optimizer.param_groups[0]["lr"]
    optimizer.step()
    if not loss.isfinite():
        raise FloatingPointError(f"loss must be finite, got {loss.item()} in epoch {epoch}; try a smaller lr")
    row: dict[str, Any] = {"epoch": epoch, "loss": loss.item(), "lr": lr} | task.evaluate(model)
    return row | {"seconds": time.perf_counter() - start}


def _merit(row: Row) -> tuple[float, float]:
    return row["valid"], -row["valid_loss"]


def _save(checkpoint: Checkpoint, progress: Progress, memory: PeakMemory, directory: Path) -> None:
    progress.peak_mib = memory.peak_mib()
    checkpoint.save(vars(progress))
    lines = [",".join(progress.history[0]), *(",".join(map(str, row.values())) for row in progress.history)]
    write_atomically(directory / "history.csv", lambda file: file.write(("\n".join(lines) + "\n").encode()))
