r"""A graph cut into parts and written so that a part is one piece of every file.

    order.npy   int64 [N]      the node of the data set that stands at each place; the nodes of a part stand together
    begins.npy  int64 [P + 1]  where each part begins
    x.npy       [N, F]         features                    y.npy   [N] or [N, T]   labels
    rowptr.npy  int64 [N + 1]  where each row begins       col.bin int32 or int64  places of the neighbours, ascending
    train.npy, valid.npy, test.npy   int64, ascending places

Every node is its own neighbour in them: a subgraph needs no other loops to be normalised. What is written needs memory
for a few numbers per node and for one bucket of edges; METIS itself holds the whole graph.
"""

import json
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from multipath_gcn.data.cache import build, cache_root, fingerprint, verify
from multipath_gcn.data.large_dataset import LargeNodeDataset, in_files, release
from multipath_gcn.data.node_dataset import PARTS, NodeDataset
from multipath_gcn.data.partitioned_graph import PartitionedGraph

log = logging.getLogger(__name__)

METHODS = ("metis", "contiguous")
_VERSION = 1  # of the files' layout
_CHUNK = 1 << 22  # edges read, or values of features copied, at a time
_LARGEST_CHECKED = 64 << 20  # bytes; larger files of the cache need only be there


def partitioned(dataset: NodeDataset | LargeNodeDataset, parts: int, method: str = "metis") -> PartitionedGraph:
    """The data set in ``parts`` parts, written into the cache once.

    Args:
        dataset: without edge weights and without parallel edges.
        parts: P, from 1 to the number of nodes.
        method: ``metis`` (Karypis and Kumar, 1998: parts of equal size, few edges between them), which holds the graph
            in memory; or ``contiguous``, ranges of node ids, for data sets whose order means something.

    Raises:
        ValueError: for arguments outside the above, ids of nodes that do not exist, or features that are not finite.
        ImportError: for METIS without pymetis.
        CorruptCache: for a changed file of the cache, which is set aside.
    """
    data = in_files(dataset)
    nodes = data.x.shape[0]
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    if not 1 <= parts <= nodes:
        raise ValueError(f"parts must lie in 1 ... {nodes}, the number of nodes, got {parts}")
    name = f"{data.name}-{method}{parts}-{fingerprint([_VERSION, data.content, data.undirected])}"
    folder = cache_root() / "partitioned" / name
    if folder.exists():
        verify(folder, largest=_LARGEST_CHECKED)
    else:
        start = time.perf_counter()
        with build(folder) as target:
            _write(target, data, parts, method)
        log.info("%s: cut into %d parts in %.1f s", data.name, parts, time.perf_counter() - start)
    return PartitionedGraph(folder, data.name, data.num_outputs, data.metric, data.synthetic)


def _write(folder: Path, data: LargeNodeDataset, parts: int, method: str) -> None:
    nodes = data.x.shape[0]
    if method == "metis":
        part = _metis(data, parts)
        order, sizes = np.argsort(part, kind="stable"), np.bincount(part, minlength=parts)
        if not sizes.all():
            raise ValueError(f"parts must be fewer, METIS left {int((sizes == 0).sum())} of {parts} empty")
        begins = np.concatenate([[0], sizes.cumsum()])
    else:
        order, begins = np.arange(nodes), np.arange(parts + 1) * nodes // parts
    place = np.empty(nodes, np.int64)
    place[order] = np.arange(nodes)
    np.save(folder / "order.npy", order)
    np.save(folder / "begins.npy", begins)
    for name in PARTS:
        np.save(folder / f"{name}.npy", np.sort(place[data.split[name]]))
    entries = _write_rows(folder, data, place)
    del place
    _copy_ordered(data.x, order, folder / "x.npy", finite=True)
    _copy_ordered(data.y, order, folder / "y.npy", finite=False)
    facts = {"entries": entries, "symmetric": data.undirected or _both_ways(data)}
    (folder / "facts.json").write_text(json.dumps(facts))


def _metis(data: LargeNodeDataset, parts: int) -> np.ndarray:
    """int64 [N], the part of each node; METIS wants both directions of every edge and no loops."""
    if parts == 1:
        return np.zeros(data.x.shape[0], np.int64)
    try:
        import pymetis
    except ImportError as error:
        raise ImportError("method=metis needs pymetis (the extra `partition`); method=contiguous does not") from error
    from scipy.sparse import coo_matrix

    nodes = data.x.shape[0]
    for _ in _edges(data):  # checks the ids, which METIS would not survive
        pass
    source, target = data.edge_index
    kept = source != target
    source, target = source[kept], target[kept]
    both = np.concatenate([source, target]), np.concatenate([target, source])
    matrix = coo_matrix((np.ones(both[0].size, np.int8), both), (nodes, nodes)).tocsr()
    _, part = pymetis.part_graph(parts, pymetis.CSRAdjacency(matrix.indptr, matrix.indices))
    return np.asarray(part, dtype=np.int64)


def _edges(data: LargeNodeDataset) -> Iterator[np.ndarray]:
    """int64 [2, n] chunks of the edges as given, checked."""
    nodes, count = data.x.shape[0], data.edge_index.shape[1]
    for start in range(0, count, _CHUNK):
        chunk = np.asarray(data.edge_index[:, start : start + _CHUNK], dtype=np.int64)
        if chunk.min() < 0 or chunk.max() >= nodes:
            wrong = chunk.min() if chunk.min() < 0 else chunk.max()
            raise ValueError(f"edge_index must lie in [0, {nodes}), the rows of x, got {wrong}")
        yield chunk
        release(data.edge_index)


def _write_rows(folder: Path, data: LargeNodeDataset, place: np.ndarray) -> int:
    """``rowptr`` and ``col`` by an external sort: an entry is one number, row N + column, and goes to the bucket of its
    row first; then each bucket is sorted in memory. Returns the number of entries."""
    nodes = place.size
    total = data.edge_index.shape[1] * (2 if data.undirected else 1)
    buckets = max(1, min(nodes, total // _CHUNK))
    bounds = np.arange(buckets + 1) * nodes // buckets
    index = np.int32 if nodes < 2**31 else np.int64
    rowptr = np.lib.format.open_memmap(folder / "rowptr.npy", "w+", np.int64, (nodes + 1,))
    with tempfile.TemporaryDirectory(dir=folder) as below:
        for source, target in _edges(data):
            row, column = place[target], place[source]
            pairs = [(row, column), (column, row)] if data.undirected else [(row, column)]
            keys = np.concatenate([(r * nodes + c)[r != c] for r, c in pairs])
            keys.sort()
            cuts = np.searchsorted(keys, bounds * nodes)
            for bucket in np.flatnonzero(np.diff(cuts)):
                with open(f"{below}/{bucket}", "ab") as file:
                    keys[cuts[bucket] : cuts[bucket + 1]].tofile(file)
        done = 0
        with open(folder / "col.bin", "wb") as file:
            for bucket in range(buckets):
                first, end = bounds[bucket], bounds[bucket + 1]
                path = Path(f"{below}/{bucket}")
                found = np.fromfile(path, np.int64) if path.exists() else np.empty(0, np.int64)
                loops = np.arange(first, end) * (nodes + 1)
                keys = np.sort(np.concatenate([found, loops]))
                fresh = np.diff(keys, prepend=-1) > 0
                if not data.undirected and not fresh.all():
                    raise ValueError(f"edge_index must hold each edge once, got one of {data.name} twice")
                keys = keys[fresh]
                counts = np.bincount(keys // nodes - first, minlength=end - first)
                rowptr[first + 1 : end + 1] = done + counts.cumsum()
                (keys % nodes).astype(index).tofile(file)
                done += keys.size
                release(rowptr)
    return done


def _copy_ordered(array: np.ndarray, order: np.ndarray, path: Path, finite: bool) -> None:
    copy = np.lib.format.open_memmap(path, "w+", array.dtype, array.shape)
    step = max(1, _CHUNK // max(1, array[:1].size))
    for start in range(0, order.size, step):
        rows = array[order[start : start + step]]
        if finite and not np.isfinite(rows).all():
            node = int(order[start + np.flatnonzero(~np.isfinite(rows).all(axis=1))[0]])
            raise ValueError(f"x must be finite, got another value at node {node}")
        copy[start : start + step] = rows
        release(array)
        release(copy)
    copy.flush()


def _both_ways(data: LargeNodeDataset) -> bool:
    source, target = (np.asarray(ids, dtype=np.int64) for ids in data.edge_index)
    nodes = data.x.shape[0]
    return np.array_equal(np.sort(source * nodes + target), np.sort(target * nodes + source))
