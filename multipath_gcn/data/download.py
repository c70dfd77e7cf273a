"""Downloads into a temporary folder of the cache; whoever calls publishes the folder when all of it is there."""

import logging
import shutil
import zipfile
from pathlib import Path
from urllib.request import urlopen

log = logging.getLogger(__name__)


def fetch(url: str, path: Path) -> None:
    """Write what ``url`` answers to ``path``.

    Raises:
        OSError: without a network, or when the answer ends early.
    """
    log.info("downloading %s", url)
    with urlopen(url, timeout=60) as answer, path.open("wb") as file:
        shutil.copyfileobj(answer, file, length=1 << 20)
        expected = answer.headers.get("Content-Length")
    if expected and path.stat().st_size != int(expected):
        raise OSError(f"{url} ended after {path.stat().st_size} of {expected} bytes")


def fetch_zip(url: str, folder: Path, top: str = "") -> None:
    """Unpack the archive at ``url`` into ``folder``; ``top`` is the archive's own outer folder, left away."""
    archive = folder / "download.zip"
    fetch(url, archive)
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)
    except zipfile.BadZipFile as error:
        raise OSError(f"{url} did not answer with a zip archive: {error}") from error
    archive.unlink()
    if top:
        for child in (folder / top).iterdir():
            child.rename(folder / child.name)
        (folder / top).rmdir()
