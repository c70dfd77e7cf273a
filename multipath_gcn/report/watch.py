"""What a sweep is doing: the state of every run directory, as a table that is drawn again and again."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from multipath_gcn.failure import read_failure
from multipath_gcn.lock import is_held

from .files import read_curve
from .runs import read_runs, run_folders

STATES = ("running", "done", "failed", "stopped")


@dataclass(frozen=True)
class Status:
    """How many runs are in each state, lines on those at work and those that failed, and the best of those done."""

    counts: Counter
    working: list[tuple[Path, int, float]]  # folder, epochs so far, best validation score so far
    failed: list[tuple[Path, str]]
    best: str


def status(folders: Sequence[Path]) -> Status:
    counts: Counter = Counter()
    working, failed = [], []
    for path in run_folders(folders, []):
        if (path / "result.json").exists():
            state = "done"
        elif is_held(path):
            state = "running"
            working.append((path, *_so_far(path)))
        elif (reason := read_failure(path)) is not None:
            state = "failed"
            failed.append((path, reason))
        else:
            state = "stopped"
        counts[state] += 1
    runs, _ = read_runs(folders)
    best = max(runs, key=lambda run: run.valid, default=None)
    told = "" if best is None else f"{best.data} {best.model} seed {best.seed}: validation {100 * best.valid:.2f} %"
    return Status(counts, working, failed, told)


def _so_far(path: Path) -> tuple[int, float]:
    try:
        curve = read_curve(path / "history.csv")
    except (ValueError, OSError):  # not yet written, or half of a line
        return 0, float("nan")
    return len(curve), max(curve)


def draw(found: Status) -> Group:
    table = Table()
    table.add_column("run", overflow="fold")
    table.add_column("epochs", justify="right")
    table.add_column("best validation %", justify="right")
    for path, epochs, score in found.working:
        table.add_row(str(path), str(epochs), "" if score != score else f"{100 * score:.2f}")
    for path, reason in found.failed:
        table.add_row(f"{path}: {reason}", "", "", style="red")
    counts = "  ".join(f"{state} {found.counts[state]}" for state in STATES)
    return Group(Text(counts), *([table] if table.row_count else []), Text(f"best: {found.best}" if found.best else ""))


def watch(folders: Sequence[Path], console: Console, every: float = 2.0) -> None:
    """Draws the status until no run is at work, or until Ctrl-C."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = status(folders)
            live.update(draw(found), refresh=True)
            if not found.counts["running"]:
                return
            time.sleep(every)
