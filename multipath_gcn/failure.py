"""``failure.json`` of a run directory: what ended the run, until its next start."""

import json
import time
from pathlib import Path

from multipath_gcn.files import write_atomically

NAME = "failure.json"


def record_failure(directory: Path, message: str) -> None:
    content = {"message": message, "time": time.time()}
    write_atomically(directory / NAME, lambda file: file.write(json.dumps(content).encode()))


def read_failure(directory: Path) -> str | None:
    """The message in one line; ``None`` if nothing has ended the run in this directory."""
    try:
        return " ".join(json.loads((directory / NAME).read_bytes())["message"].split())
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return f"{NAME} cannot be read ({type(error).__name__}: {error})"


def forget_failure(directory: Path) -> None:
    (directory / NAME).unlink(missing_ok=True)
