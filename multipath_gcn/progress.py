"""What a user sees while a model trains: a bar on a terminal, a few lines elsewhere."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)
OnEpoch = Callable[[dict[str, float]], None]
OnStep = Callable[[int, int], None]  # (epoch, step), from 1

QUIET = 300.0  # seconds after which a line says that a long epoch goes on


@contextmanager
def training_progress(
    title: str, epochs: int, steps: int = 1, lines: int = 2, shown: bool = True
) -> Iterator[tuple[OnEpoch, OnStep]]:
    """Gives a function to call with the row of every epoch, and one to call after every step.

    Args:
        title: what is trained.
        epochs: how many epochs there are at most.
        steps: how many steps an epoch has.
        lines: where there is no terminal, how many lines a full run writes, beside those of long epochs.
        shown: whether this process is the one that tells.
    """
    if not shown:
        yield lambda row: None, lambda epoch, step: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _written(title, max(1, epochs // lines), steps)
        return
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=epochs * steps, words="")
        yield (
            lambda row: bar.update(task, completed=row["epoch"] * steps, words=_words(row)),
            lambda epoch, step: bar.update(task, completed=(epoch - 1) * steps + step),
        )


def _written(title: str, every: int, steps: int) -> tuple[OnEpoch, OnStep]:
    last = time.monotonic()

    def on_epoch(row: dict[str, float]) -> None:
        nonlocal last
        last = time.monotonic()
        if row["epoch"] % every == 0:
            log.info("%s  %s", title, _words(row))

    def on_step(epoch: int, step: int) -> None:
        nonlocal last
        if time.monotonic() - last >= QUIET:
            last = time.monotonic()
            log.info("%s  epoch %d  step %d of %d", title, epoch, step, steps)

    return on_epoch, on_step


def _words(row: dict[str, float]) -> str:
    scores = "  ".join(f"{name} {100 * row[name]:.2f}" for name in ("valid", "test"))
    return f"epoch {row['epoch']:.0f}  loss {row['loss']:.4f}  {scores}"
