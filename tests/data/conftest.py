"""Every data test gets its own cache, a data root that must stay as it was, and no network."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(folder))
    monkeypatch.delenv("MULTIPATH_GCN_DATA", raising=False)
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr("multipath_gcn.data.download.urlopen", refuse)


@pytest.fixture(autouse=True)
def no_questions(monkeypatch):
    def refuse(*args):
        raise AssertionError(f"a loader asked {args}")

    monkeypatch.setattr("builtins.input", refuse)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root: a test writes its files and calls ``seal``; from then on nothing there may change."""
    folder = DataRoot(tmp_path / "root")
    folder.path.mkdir()
    monkeypatch.setenv("MULTIPATH_GCN_DATA", str(folder.path))
    yield folder
    if folder.sealed is not None:
        assert folder.state() == folder.sealed, "a loader wrote to the data root"


class DataRoot:
    def __init__(self, path: Path):
        self.path, self.sealed = path, None

    def state(self):
        return sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in self.path.rglob("*"))

    def seal(self):
        self.sealed = self.state()


@pytest.fixture
def write_csv():
    """Write the rows of a table as OGB does: gzipped, without a header unless one is given."""

    def write(path: Path, rows, header=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [",".join(map(str, row)) for row in ([header] if header else []) + list(rows)]
        path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))

    return write


@pytest.fixture
def encode():
    """Bytes of an image file from uint8 [H, W], [H, W, 3] or [H, W, 4] pixels."""

    def encode(pixels, kind="PNG"):
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(pixels).save(content, kind)
        return content.getvalue()

    return encode


@pytest.fixture
def write_images(encode):
    """Write a parquet file of random 6 x 5 images, laid out as on the hub, and return their pixels and labels.

    ``change`` maps a row to the bytes that stand there instead; ``finish`` changes the whole table.
    """

    def write(path: Path, count, seed=0, change=None, labels=None, names=("img", "label"), finish=lambda table: table):
        import pyarrow as pa
        import pyarrow.parquet as pq

        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)
        drawn = rng.integers(0, 4, count) if labels is None else labels
        images = [
            {"bytes": (change or {}).get(row, encode(image)), "path": f"{row}.png"} for row, image in enumerate(pixels)
        ]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({names[0]: pa.array(images, kind), names[1]: pa.array(drawn, pa.int64())})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(finish(table), path, row_group_size=10)
        return pixels, np.array(drawn)

    return write
