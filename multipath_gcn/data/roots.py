"""Where data lives: the data root is only read, the cache takes all that is downloaded or derived.

``MULTIPATH_GCN_DATA`` names the data root; it may be read-only, or unset.  ``MULTIPATH_GCN_CACHE`` names the cache,
``~/.cache/multipath_gcn`` by default.  Both are read when a loader is called, never at import.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from multipath_gcn.data.cache import CACHE, build, cache_root

DATA = "MULTIPATH_GCN_DATA"


class MissingData(FileNotFoundError):
    """Raw files are neither in the data root nor in the cache, and could not be downloaded."""


def data_root() -> Path | None:
    """The folder named by ``MULTIPATH_GCN_DATA``, or None where it is unset."""
    return Path(os.environ[DATA]).expanduser() if os.environ.get(DATA) else None


def raw_folder(name: str, folders: Sequence[str], files: Sequence[str], fetch: Callable[[Path], None]) -> Path:
    """The folder that holds all raw ``files`` of a data set: in the data root, else in the cache, else fetched.

    Args:
        name: for messages.
        folders: where the files may lie below a root, the usual place first.
        files: paths relative to such a folder.
        fetch: downloads the files into the (temporary) folder it is given.

    Raises:
        MissingData: where the files are nowhere and ``fetch`` fails.
    """
    found = _find(folders, files)
    if found:
        return found
    try:
        with build(cache_root() / folders[0]) as folder:
            fetch(folder)
    except OSError as error:
        raise missing(name, folders, files, f"the download failed ({error})") from error
    found = _find(folders, files)
    if not found:
        reason = f"{cache_root() / folders[0]} does not hold them all: move it away to download again"
        raise missing(name, folders, files, reason)
    return found


def _find(folders: Sequence[str], files: Sequence[str]) -> Path | None:
    for root in filter(None, (data_root(), cache_root())):
        for folder in folders:
            if all((root / folder / file).is_file() for file in files):
                return (root / folder).absolute()
    return None


def missing(name: str, folders: Sequence[str], files: Sequence[str], reason: str) -> MissingData:
    """The error that says where files were looked for, what was expected there, and the ``reason`` they are missing."""
    root = data_root()
    where = f"the data root {root} ({DATA})" if root else f"the data root ({DATA} is not set)"
    return MissingData(
        f"{name}: raw files found neither in {where} nor in the cache {cache_root()} ({CACHE}), and {reason}. "
        f"Expected below one of them, in {' or '.join(folders)}: {', '.join(files)}. "
        "Embedded data that needs no download: data=digits, data=synthetic, data=digit_images, data=mesh_gradients, "
        "data=digit_rows, data=digit_segments."
    )
