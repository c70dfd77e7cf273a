"""What a sweep is doing: the state of every run directory, as a table that is drawn again and again."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from multipath_gcn.failure import read_failure
from multipath_gcn.lock import begun_at, is_held

from .files import read_curve, read_result
from .runs import run_folders

STATES = ("running", "done", "failed", "stopped")


@dataclass(frozen=True)
class Status:
    """How many runs are in each state, lines on those at work and those that failed, the best of those done.

    Attributes:
        working: folder, epochs so far, best validation score so far.
        failed: folder, reason.
        best: in words; "" if none is done.
        waiting: runs that have not begun; ``None`` where nobody knows.
        left: seconds until all are finished, as the present pace has it; ``None`` where nobody knows.
    """

    counts: Counter
    working: list[tuple[Path, int, float]]
    failed: list[tuple[Path, str]]
    best: str
    waiting: int | None = None
    left: float | None = None


class Watched:
    """Runs that are looked at again and again; what is done is read once.

    Args:
        folders: with runs, at any depth.
        since: only those that a process has begun or taken up after this time, in seconds since the epoch.
        expected: how many there will be, where that is known.
    """

    def __init__(self, folders: Sequence[Path], since: float = -math.inf, expected: int | None = None):
        self.folders, self.since, self.expected = folders, since, expected
        self.begun = time.time()
        self._done: dict[Path, tuple[float, dict[str, Any] | None]] = {}  # when it was, what came out

    def look(self) -> Status:
        counts: Counter = Counter()
        working, failed, fresh = [], [], 0
        for path in self._runs():
            if path in self._done or self._is_done(path):
                state = "done"
                fresh += self._done[path][0] >= self.begun
            elif is_held(path):
                state = "running"
                working.append((path, *_so_far(path)))
            elif (reason := read_failure(path)) is not None:
                state = "failed"
                failed.append((path, reason))
            else:
                state = "stopped"
            counts[state] += 1
        known = [result for _, result in self._done.values() if result is not None]
        best = max(known, key=lambda result: result["valid"], default=None)
        told = "" if best is None else "{data} {model} seed {seed}: validation ".format_map(best)
        told += "" if best is None else f"{100 * best['valid']:.2f} %"
        if self.expected is None:
            return Status(counts, working, failed, told)
        waiting = max(0, self.expected - counts.total())
        passed, finished = time.time() - self.begun, fresh + counts["failed"]
        left = passed / finished * (waiting + counts["running"] / 2) if finished else None
        return Status(counts, working, failed, told, waiting, left)

    def _runs(self) -> Iterator[Path]:
        return (path for path in run_folders(self.folders, []) if begun_at(path) >= self.since)

    def _is_done(self, path: Path) -> bool:
        try:
            finished = (path / "result.json").stat().st_mtime
            self._done[path] = finished, read_result(path / "result.json")
        except FileNotFoundError:
            return False
        except (ValueError, OSError):  # damaged: the report tells
            self._done[path] = finished, None
        return True


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
        table.add_row(str(path), str(epochs) if epochs else "", "" if score != score else f"{100 * score:.2f}")
    for path, reason in found.failed:
        table.add_row(f"{path}: {reason}", "", "", style="red")
    counts = "  ".join(f"{state} {found.counts[state]}" for state in STATES)
    counts += "" if found.waiting is None else f"  waiting {found.waiting}"
    counts += "" if found.left is None else f"  about {_duration(found.left)} left"
    return Group(Text(counts), *([table] if table.row_count else []), Text(f"best: {found.best}" if found.best else ""))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def watch(folders: Sequence[Path], console: Console, every: float = 2.0) -> None:
    """Draws the status until no run is at work, or until Ctrl-C."""
    watched = Watched(folders)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            found = watched.look()
            live.update(draw(found), refresh=True)
            if not found.counts["running"]:
                return
            time.sleep(every)
