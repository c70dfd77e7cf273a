"""One process at a time in a run directory: a lock that the system takes back when its holder ends, however it ends."""

import fcntl
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = ".lock"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """
    Raises:
        ValueError: if another process holds it; the message names the process.
    """
    with open(directory / NAME, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"hydra.run.dir must not be in use, {directory} is by {file.read() or 'another process'}"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def begun_at(directory: Path) -> float:
    """When a process last took hold of it, in seconds since the epoch; minus infinity for never."""
    try:
        return (directory / NAME).stat().st_mtime
    except FileNotFoundError:
        return -math.inf


def is_held(directory: Path) -> bool:
    """Whether a process is at work there."""
    try:
        with open(directory / NAME) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
