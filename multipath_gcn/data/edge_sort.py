"""The rows of a graph whose edges do not fit into memory: an external sort.

An entry of the matrix is one number, row N + column. It goes to the bucket of its row, a file, first; then each bucket
is sorted in memory. Buckets are ranges of rows with about as many entries each.
"""

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from multipath_gcn.data.large_dataset import LargeNodeDataset, release

CHUNK = 1 << 22  # edges read at a time, and entries of a bucket
_RANGES = 1 << 16  # of rows, whose entries are counted to make buckets of


def edges(data: LargeNodeDataset) -> Iterator[np.ndarray]:
    """int64 [2, n] chunks of the edges as given.

    Raises:
        ValueError: for an id of no node.
    """
    nodes, count = data.x.shape[0], data.edge_index.shape[1]
    for start in range(0, count, CHUNK):
        chunk = np.asarray(data.edge_index[:, start : start + CHUNK], dtype=np.int64)
        if chunk.min() < 0 or chunk.max() >= nodes:
            wrong = chunk.min() if chunk.min() < 0 else chunk.max()
            raise ValueError(f"edge_index must lie in [0, {nodes}), the rows of x, got {wrong}")
        yield chunk
        release(data.edge_index)


def write_rows(folder: Path, data: LargeNodeDataset, place: np.ndarray) -> tuple[int, bool]:
    """Writes ``rowptr.npy`` and ``col.bin``, every node among its own neighbours.

    Args:
        folder: exists.
        data: whose edges are written.
        place: int64 [N], the row of each node.

    Returns:
        The number of entries, and whether every edge goes both ways.

    Raises:
        ValueError: for an edge that stands twice, unless the data set lets edges count once.
    """
    nodes = place.size
    bounds, symmetric = _survey(data, place)
    index = np.int32 if nodes < 2**31 else np.int64
    rowptr = np.lib.format.open_memmap(folder / "rowptr.npy", "w+", np.int64, (nodes + 1,))
    done = 0
    with tempfile.TemporaryDirectory(dir=folder) as name:
        below = Path(name)
        for keys in _keys(data, place):
            keys.sort()
            cuts = np.searchsorted(keys, bounds * nodes)
            for bucket in np.flatnonzero(np.diff(cuts)):
                with open(below / str(bucket), "ab") as file:
                    keys[cuts[bucket] : cuts[bucket + 1]].tofile(file)
        with open(folder / "col.bin", "wb") as file:
            for bucket, (first, end) in enumerate(pairwise(bounds)):
                keys = _distinct(below / str(bucket), data)
                keys = np.union1d(keys, np.arange(first, end) * (nodes + 1))  # the loops that are missing
                rowptr[first + 1 : end + 1] = done + np.bincount(keys // nodes - first, minlength=end - first).cumsum()
                (keys % nodes).astype(index).tofile(file)
                done += keys.size
                release(rowptr)
    return done, symmetric


def _keys(data: LargeNodeDataset, place: np.ndarray) -> Iterator[np.ndarray]:
    nodes = place.size
    for source, target in edges(data):
        row, column = place[target], place[source]
        keys = row * nodes + column
        yield np.concatenate([keys, column * nodes + row]) if data.undirected else keys


def _survey(data: LargeNodeDataset, place: np.ndarray) -> tuple[np.ndarray, bool]:
    """Borders of buckets of about CHUNK entries; and whether entries and their mirror images are the same set, by the
    sums of a 64-bit hash."""
    nodes, ranges = place.size, min(place.size, _RANGES)
    count, difference = np.zeros(ranges, np.int64), np.uint64(0)
    for keys in _keys(data, place):
        row, column = keys // nodes, keys % nodes
        count += np.bincount(row * ranges // nodes, minlength=ranges)
        difference += _hashed(keys).sum(dtype=np.uint64) - _hashed(column * nodes + row).sum(dtype=np.uint64)
    bucket = (count.cumsum() - count) // CHUNK
    first = np.flatnonzero(np.diff(bucket, prepend=-1))  # ranges that begin a bucket
    return np.append(-(-first * nodes // ranges), nodes), bool(difference == 0)


def _hashed(keys: np.ndarray) -> np.ndarray:
    mixed = keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32))


def _distinct(bucket: Path, data: LargeNodeDataset) -> np.ndarray:
    keys = np.fromfile(bucket, np.int64) if bucket.exists() else np.empty(0, np.int64)
    keys.sort()
    fresh = np.diff(keys, prepend=-1) > 0
    if not data.undirected and not fresh.all():
        raise ValueError(f"edge_index must hold each edge once, got one of {data.name} twice")
    return keys[fresh]
