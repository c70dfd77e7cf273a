"""What a user sees while a model trains: a bar on a terminal, a few lines elsewhere."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


@contextmanager
def training_progress(title: str, epochs: int, lines: int = 2) -> Iterator[Callable[[dict[str, float]], None]]:
    """Gives a function to call with the row of every epoch.

    Args:
        title: what is trained.
        epochs: how many epochs there are at most.
        lines: where there is no terminal, how many lines a full run writes.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        every = max(1, epochs // lines)
        yield lambda row: log.info("%s  %s", title, _words(row)) if row["epoch"] % every == 0 else None
        return
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=epochs, words="")
        yield lambda row: bar.update(task, completed=row["epoch"], words=_words(row))


def _words(row: dict[str, float]) -> str:
    scores = "  ".join(f"{name} {100 * row[name]:.2f}" for name in ("valid", "test"))
    return f"epoch {row['epoch']:.0f}  loss {row['loss']:.4f}  {scores}"
