"""Folders of the cache: each appears whole under its final name or not at all, and is checked when it is read again.

A folder is written under a temporary name beside the final one, gets a list of its files' SHA-256 digests, and is then
renamed.  A killed process leaves at most a temporary folder; of two that build the same folder, the first one wins.
"""

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import shutil
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from multipath_gcn.files import set_aside

log = logging.getLogger(__name__)

CACHE = "MULTIPATH_GCN_CACHE"
LARGE = 64 << 20  # bytes, for `verify`: of larger files the digest takes longer than reading what is needed of them
T = TypeVar("T")
_MANIFEST = "manifest.json"
UNREADABLE = (EOFError, ValueError, LookupError, AssertionError, RuntimeError, OSError, zlib.error, zipfile.BadZipFile)
_STALE_AFTER = 24 * 3600  # seconds; far longer than any folder takes between two of its files


class CorruptCache(RuntimeError):
    """A file of the cache is not what was written; its folder has been set aside."""


def cache_root() -> Path:
    """The folder named by ``MULTIPATH_GCN_CACHE``, or its default."""
    return Path(os.environ.get(CACHE) or "~/.cache/multipath_gcn").expanduser().absolute()


@contextlib.contextmanager
def build(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``folder`` when the block ends, and vanishes when the block raises."""
    temporary = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _drop_stale(folder)
        temporary.mkdir()
    except OSError as error:
        raise ValueError(f"{CACHE} must name a folder that can be written, got {cache_root()}: {error}") from error
    try:
        yield temporary
        digests = {str(path.relative_to(temporary)): file_digest(path) for path in _own_files(temporary)}
        (temporary / _MANIFEST).write_text(json.dumps(digests, indent=1))
        try:
            os.replace(temporary, folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            log.info("%s appeared meanwhile, built by another process", folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def verify(folder: Path, largest: float = math.inf) -> None:
    """Check every file that :func:`build` found in ``folder``.

    Args:
        largest: files of more bytes need only be there, since reading them takes too long.

    Raises:
        CorruptCache: naming the file, after the folder was renamed to ``<folder>.corrupt``.
    """
    try:
        digests = json.loads((folder / _MANIFEST).read_text())
        wrong = [name for name, digest in digests.items() if not _matches(folder / name, digest, largest)]
    except (FileNotFoundError, ValueError, AttributeError):
        wrong = [_MANIFEST]
    if wrong:
        raise CorruptCache(
            f"corrupted cache file {folder / wrong[0]}: not what was written there. Its folder is kept aside as "
            f"{set_aside(folder)}; the next run builds it anew"
        )


def load_derived(folder: Path, raw: Path, files: Sequence[str], below: str, load: Callable[[Path], T]) -> T:
    """``load`` a data set whose loader keeps derived files beside the raw ones, with the raw ones left untouched.

    The loader sees a folder of the cache in which ``below`` holds links to the raw files.  The folder's name carries
    their paths, sizes and times, so that derived files can never answer for other raw files.

    Args:
        folder: of the cache, without that suffix.
        raw: where the raw files are.
        files: their names relative to ``raw``.
        below: where the loader wants them, relative to its root.
        load: reads the data set from the root it is given, deriving files there if there are none.

    Raises:
        CorruptCache: if a derived file, or a raw file that the cache itself holds, was changed.
        ValueError: if the raw files cannot be read.
    """
    stats = [(raw / file).stat() for file in files]
    facts = [[str(raw / file), stat.st_size, stat.st_mtime_ns] for file, stat in zip(files, stats, strict=True)]
    folder = folder.with_name(f"{folder.name}-{fingerprint(facts)}")
    if folder.exists():
        verify(folder)
        return load(folder)
    if raw.is_relative_to(cache_root()):  # the data root is only read
        verify(raw)
    log.info("deriving %s from the raw files in %s, once", folder.name, raw)
    with build(folder) as root:
        for file in files:
            link = root / below / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((raw / file).resolve())
        try:
            return load(root)
        except UNREADABLE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the system's own complaint, such as a full disk
            raise ValueError(f"the raw files in {raw} cannot be read: {type(error).__name__}: {error}") from error


def fingerprint(facts: object) -> str:
    """16 hexadecimal digits that stand for ``facts``, any JSON value."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _matches(path: Path, digest: str, largest: float) -> bool:
    return path.is_file() and (path.stat().st_size > largest or file_digest(path) == digest)


def _own_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _drop_stale(folder: Path) -> None:
    for left in folder.parent.glob(f".{folder.name}.partial-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _STALE_AFTER:
                shutil.rmtree(left, ignore_errors=True)
