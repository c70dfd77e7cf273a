"""The state of a sweep in the terminal that started it, drawn beside the work."""

import logging
import os
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

_SHOWN = "MULTIPATH_GCN_SWEEP_SHOWN"  # set for the runs of a sweep that is drawn: they leave the terminal to it


class LiveSweep:
    """Draws until :meth:`stop`; nothing where standard error is no terminal.

    Args:
        folder: the sweep's.
        expected: how many runs there will be, if known.
    """

    def __init__(self, folder: Path, expected: int | None, every: float = 2.0):
        self._folder, self._expected, self._since = folder, expected, time.time()
        self._every, self._ended = every, threading.Event()
        self._thread: threading.Thread | None = None
        self._console = Console(stderr=True)

    def start(self) -> None:
        if self._console.is_terminal:
            os.environ[_SHOWN] = "1"
            self._thread = threading.Thread(target=self._draw, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            del os.environ[_SHOWN]

    def _draw(self) -> None:
        from multipath_gcn.report.watch import Watched, draw  # a second, in the thread's time

        watched = Watched([self._folder], since=self._since, expected=self._expected)
        with Live(console=self._console, auto_refresh=False) as live:
            while True:
                ended = self._ended.wait(self._every)
                live.update(draw(watched.look()), refresh=True)
                if ended:
                    return


def is_shown() -> bool:
    """Whether this run belongs to a sweep that is drawn."""
    return _SHOWN in os.environ


def leave_the_terminal() -> None:
    """Log lines of this run go to its file alone."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr):
            root.removeHandler(handler)
