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
import time
from pathlib import Path

import numpy as np

from multipath_gcn.data.cache import LARGE, build, cache_root, fingerprint, verify
from multipath_gcn.data.edge_sort import edges, write_rows
from multipath_gcn.data.large_dataset import LargeNodeDataset, as_arrays, release
from multipath_gcn.data.node_dataset import PARTS, NodeDataset
from multipath_gcn.data.partitioned_graph import PartitionedGraph

log = logging.getLogger(__name__)

METHODS = ("metis", "contiguous")
_VERSION = 2  # of the files' layout
_VALUES = 1 << 22  # of features copied at a time


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
    data = as_arrays(dataset)
    nodes = data.x.shape[0]
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    if not 1 <= parts <= nodes:
        raise ValueError(f"parts must lie in 1 ... {nodes}, the number of nodes, got {parts}")
    name = f"{data.name}-{method}{parts}-{fingerprint([_VERSION, data.content, data.undirected])}"
    folder = cache_root() / "partitioned" / name
    if folder.exists():
        verify(folder, largest=LARGE)
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
    entries, symmetric = write_rows(folder, data, place)
    del place
    _copy_ordered(data.x, order, folder / "x.npy", finite=True)
    _copy_ordered(data.y, order, folder / "y.npy", finite=False)
    facts = {"entries": entries, "symmetric": symmetric}
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
    for _ in edges(data):  # checks the ids, which METIS would not survive
        pass
    source, target = data.edge_index
    kept = source != target
    source, target = source[kept], target[kept]
    both = np.concatenate([source, target]), np.concatenate([target, source])
    matrix = coo_matrix((np.ones(both[0].size, np.int8), both), (nodes, nodes)).tocsr()
    _, part = pymetis.part_graph(parts, pymetis.CSRAdjacency(matrix.indptr, matrix.indices))
    return np.asarray(part, dtype=np.int64)


def _copy_ordered(array: np.ndarray, order: np.ndarray, path: Path, finite: bool) -> None:
    copy = np.lib.format.open_memmap(path, "w+", array.dtype, array.shape)
    step = max(1, _VALUES // max(1, array[:1].size))
    for start in range(0, order.size, step):
        rows = array[order[start : start + step]]
        if finite and not np.isfinite(rows).all():
            row, feature = np.argwhere(~np.isfinite(rows))[0]
            node = order[start + row]
            raise ValueError(f"x must be finite, got {rows[row, feature]} at node {node}, feature {feature}")
        copy[start : start + step] = rows
        release(array)
        release(copy)
    copy.flush()
