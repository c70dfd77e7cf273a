"""Graphs too large for csv tables: ogbn-papers100M, and others in its layout, read without ever holding them whole.

    raw/data.npz         edge_index int64 [2, E], node_feat float16 or float32 [N, F]
    raw/node-label.npz   node_label [N, 1], NaN where a node has none
    split/<name>/{train,valid,test}.csv.gz

The official loader would take all of it into memory at once, twice.
"""

import logging
import shutil
import zipfile
from pathlib import Path

import numpy as np

from multipath_gcn.data.cache import LARGE, UNREADABLE, build, cache_root, fingerprint, verify
from multipath_gcn.data.large_dataset import LargeNodeDataset, release
from multipath_gcn.data.node_dataset import PARTS
from multipath_gcn.data.ogb import ogb_facts
from multipath_gcn.data.roots import raw_folder

log = logging.getLogger(__name__)

_NAME = "ogbn-papers100M"
_ROWS = 1 << 22  # labels converted at a time
_VERSION = 2


def load_papers100m() -> LargeNodeDataset:
    """ogbn-papers100M (Hu et al., arXiv 2005.00687): 111,059,956 papers, citations in both directions, 172 classes.

    Its files are looked for in ``ogbn_papers100M`` of the data root, then of the cache; 57 GB are not downloaded
    unasked. The arrays are unpacked into the cache once, about 83 GB; cut into parts they take 71 GB more.

    Raises:
        MissingData: without raw files.
        ValueError: for raw files that cannot be read.
        CorruptCache: for a changed file of the cache, which is set aside.
    """
    facts = ogb_facts(_NAME)
    files = _files(facts["split"])

    def refuse(_: Path) -> None:
        raise OSError(f"57 GB are not downloaded unasked; unpack {facts['url']} there")

    raw = raw_folder(_NAME, ["ogbn_papers100M", "papers100M-bin"], files, refuse)
    return load_binary(raw, _NAME, int(facts["num classes"]), facts["split"])


def load_binary(
    folder: str | Path, name: str, num_classes: int, split: str = "time", synthetic: bool = False
) -> LargeNodeDataset:
    """A graph with classes in the layout at this file's head; an edge counts in both directions.

    Args:
        folder: where ``raw`` and ``split`` are; only read.
        name: what reports call it.
        num_classes: labels are 0 ... num_classes - 1.
        split: name of the split.
        synthetic: whether the graph is generated; reports label it so.

    Raises:
        ValueError: for files that are missing or cannot be read.
        CorruptCache: for a changed file of the cache, which is set aside.
    """
    folder = Path(folder)
    files = _files(split)
    if absent := [file for file in files if not (folder / file).is_file()]:
        raise ValueError(f"folder must hold {', '.join(files)}, got {folder} without {', '.join(absent)}")
    stats = [(folder / file).stat() for file in files]
    facts = [[str(folder.absolute() / file), s.st_size, s.st_mtime_ns] for file, s in zip(files, stats, strict=True)]
    content = fingerprint([_VERSION, facts, num_classes])
    arrays = cache_root() / "unpacked" / f"{name}-{content}"
    if arrays.exists():
        verify(arrays, largest=LARGE)
    else:
        log.info("unpacking %s into %s, once", folder, arrays)
        with build(arrays) as target:
            _unpack(folder, split, target, num_classes)
    x, edge_index, y = (np.load(arrays / f"{array}.npy", mmap_mode="r") for array in ("node_feat", "edge_index", "y"))
    parts = {part: np.load(arrays / f"{part}.npy") for part in PARTS}
    return LargeNodeDataset(
        name, x, edge_index, y, parts, num_classes, "acc", content, undirected=True, synthetic=synthetic
    )


def _unpack(folder: Path, split: str, target: Path, num_classes: int) -> None:
    for array in ("edge_index", "node_feat"):
        _member(folder / "raw" / "data.npz", array, target / f"{array}.npy")
    _member(folder / "raw" / "node-label.npz", "node_label", target / "node_label.npy")
    found = np.load(target / "node_label.npy", mmap_mode="r")
    dtype = np.int16 if num_classes < 2**15 else np.int64
    y = np.lib.format.open_memmap(target / "y.npy", "w+", dtype, found.shape[:1])
    for start in range(0, len(found), _ROWS):
        rows = found[start : start + _ROWS].reshape(-1)  # [N, 1] in OGB's files
        known = ~np.isnan(rows)
        wrong = known & ((rows < 0) | (rows >= num_classes) | (rows != np.floor(rows)))
        if wrong.any():
            node = int(np.flatnonzero(wrong)[0])
            rule = f"be NaN or a class in [0, {num_classes})"
            raise ValueError(f"node_label must {rule}, got {rows[node]} at node {start + node}")
        y[start : start + _ROWS] = np.where(known, rows, -1)
        release(found)
        release(y)
    y.flush()
    (target / "node_label.npy").unlink()
    for part in PARTS:
        np.save(target / f"{part}.npy", _ids(folder / "split" / split / f"{part}.csv.gz"))


def _member(archive: Path, array: str, target: Path) -> None:
    """One array of an .npz as a .npy file, copied as it is decompressed."""
    try:
        with zipfile.ZipFile(archive) as file, file.open(f"{array}.npy") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 24)
    except UNREADABLE as error:
        raise _unreadable(archive, error) from error


def _ids(table: Path) -> np.ndarray:
    import pandas

    try:
        return pandas.read_csv(table, header=None)[0].to_numpy(np.int64)
    except UNREADABLE as error:
        raise _unreadable(table, error) from error


def _unreadable(path: Path, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error  # the system's own complaint, such as a full disk
    return ValueError(f"{path} cannot be read: {type(error).__name__}: {error}")


def _files(split: str) -> list[str]:
    return ["raw/data.npz", "raw/node-label.npz", *(f"split/{split}/{part}.csv.gz" for part in PARTS)]
