"""Graphs of our own written as OGB distributes its graphs: gzipped csv files that the official loader reads.

    RELEASE_v1.txt   raw/{edge,node-feat,node-label,num-node-list,num-edge-list}.csv.gz
    split/<split name>/{train,valid,test}.csv.gz

A table is written as indices into its few distinct texts: formatting each of millions of numbers would take minutes.
"""

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

_CHUNK = 1 << 22  # cells turned into text at a time


def write_layout(
    folder: Path,
    *,
    x: np.ndarray,
    decimals: int,
    edge_index: np.ndarray,
    y: np.ndarray,
    split: Mapping[str, np.ndarray],
    split_name: str,
) -> None:
    """Write one homogeneous graph with class labels.

    Args:
        folder: existing folder to write into.
        x: [N, F] features, stored rounded to ``decimals`` decimals.
        decimals: at least 1, so that the loader takes the columns for floating point.
        edge_index: [2, E] node ids, each edge as it is to be distributed.
        y: [N] classes.
        split: node ids of ``train``, ``valid`` and ``test``.
        split_name: the rule that the split follows.
    """
    scale = 10**decimals
    low, high = (round(float(bound) * scale) for bound in (x.min(), x.max()))
    numbers = np.array([f"{code / scale:.{decimals}f}".encode() for code in range(low, high + 1)])
    ids = np.arange(max(x.shape[0], int(y.max()) + 1)).astype(bytes)

    raw, parts = folder / "raw", folder / "split" / split_name
    (folder / "RELEASE_v1.txt").touch()
    raw.mkdir()
    parts.mkdir(parents=True)
    _write(raw / "edge.csv.gz", ids, _chunks(edge_index.T))
    codes = (np.rint(rows * scale).astype(np.int64).clip(low, high) - low for rows in _chunks(x))
    _write(raw / "node-feat.csv.gz", numbers, codes)
    _write(raw / "node-label.csv.gz", ids, _chunks(y[:, None]))
    for part, nodes in split.items():
        _write(parts / f"{part}.csv.gz", ids, _chunks(nodes[:, None]))
    for name, count in (("num-node-list", x.shape[0]), ("num-edge-list", edge_index.shape[1])):
        _write(raw / f"{name}.csv.gz", np.array([str(count).encode()]), iter([np.zeros((1, 1), np.int64)]))


def layout_files(split_name: str) -> list[str]:
    """The paths of all files that :func:`write_layout` writes."""
    raw = [f"raw/{name}.csv.gz" for name in ("edge", "node-feat", "node-label", "num-node-list", "num-edge-list")]
    return ["RELEASE_v1.txt", *raw] + [f"split/{split_name}/{part}.csv.gz" for part in ("train", "valid", "test")]


def layout_meta(split_name: str, num_classes: int) -> dict[str, object]:
    """What the official loader must be told through ``meta_dict`` about such a folder; its path is added on loading."""
    return {
        "version": 1,
        "download_name": "",
        "url": "",
        "split": split_name,
        "num tasks": 1,
        "num classes": num_classes,
        "task type": "multiclass classification",
        "eval metric": "acc",
        "add_inverse_edge": "False",
        "has_node_attr": "True",
        "has_edge_attr": "False",
        "additional node files": "None",
        "additional edge files": "None",
        "is hetero": "False",
        "binary": "False",
    }


def _chunks(table: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK // table.shape[1])
    return (table[start : start + step] for start in range(0, table.shape[0], step))


def _write(path: Path, texts: np.ndarray, chunks: Iterator[np.ndarray]) -> None:
    inner, last = np.char.add(texts, b","), np.char.add(texts, b"\n")
    with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as file:  # no time, so that equal tables are equal files
        for codes in chunks:
            cells = np.empty(codes.shape, inner.dtype)
            cells[:, :-1] = inner[codes[:, :-1]]
            cells[:, -1] = last[codes[:, -1]]
            flat = cells.view(np.uint8).ravel()
            file.write(flat[flat != 0])  # NumPy pads short texts with zero bytes
