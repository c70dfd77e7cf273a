"""Files that are whole or absent: written under a temporary name, then renamed in one step."""

import contextlib
import io
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"  # how the name of a file ends while it is written


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces ``path`` by what ``write`` puts into the file it is given; after a crash the old content stands.

    Raises:
        OSError: naming the file, such as for a full disk.
    """
    content = io.BytesIO()  # a full disk is then told as such: writers of archives have words of their own for it
    write(content)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Renames a damaged file or folder to ``NAME.corrupt``, numbered where that is taken, and returns the new path."""
    kept, number = path.with_name(f"{path.name}.corrupt"), 1
    while kept.exists():
        kept, number = path.with_name(f"{path.name}.corrupt{number}"), number + 1
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        path.rename(kept)
    return kept
