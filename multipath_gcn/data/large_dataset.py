"""A node property prediction task whose arrays may stay in files, and how to read them within little memory."""

import hashlib
import mmap
from dataclasses import dataclass

import numpy as np
import torch

from multipath_gcn.data.node_dataset import METRICS, PARTS, NodeDataset, check_known, check_split


@dataclass(frozen=True, eq=False)
class LargeNodeDataset:
    """What a :class:`NodeDataset` is, without anything that would have to be in memory as a whole.

    Args:
        name: what reports call it.
        x: float16 or float32 [N, F], usually a ``numpy.memmap``.
        edge_index: int32 or int64 [2, E], source over target.
        y: integers [N], a class in [0, num_outputs) for every node in the split; or float32 [N, num_outputs] of 0
            and 1.
        split: ``train``, ``valid`` and ``test`` as int64 node ids.
        num_outputs: number of classes, or of binary tasks.
        metric: ``acc`` or ``rocauc``.
        content: digits that stand for all of the above; what is derived from it is found by them.
        undirected: whether an edge counts in both directions, and those that stand there twice count once.
        synthetic: whether the graph is generated; reports label it so.

    Raises:
        ValueError: naming argument, rule and value, for shapes, types, splits and labels that are no such task. Edges
            and features are checked when the graph is cut into parts.
    """

    name: str
    x: np.ndarray
    edge_index: np.ndarray
    y: np.ndarray
    split: dict[str, np.ndarray]
    num_outputs: int
    metric: str
    content: str
    undirected: bool = False
    synthetic: bool = False

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {self.metric!r}")
        if self.x.dtype not in (np.float16, np.float32) or self.x.ndim != 2 or self.x.size == 0:
            raise ValueError(f"x must be float16 or float32 of shape [N, F], N, F >= 1, got {_words(self.x)}")
        if self.edge_index.dtype.kind != "i" or self.edge_index.ndim != 2 or self.edge_index.shape[0] != 2:
            raise ValueError(f"edge_index must be integers of shape [2, E], got {_words(self.edge_index)}")
        if self.num_outputs < 1:
            raise ValueError(f"num_outputs must be at least 1, got {self.num_outputs}")
        nodes, binary = self.x.shape[0], self.metric == "rocauc"
        kind, shape = ("f", (nodes, self.num_outputs)) if binary else ("i", (nodes,))
        if self.y.dtype.kind != kind or self.y.shape != shape:
            rule = f"{'float32' if binary else 'integers'} of shape {list(shape)}"
            raise ValueError(f"y must be {rule} for the metric {self.metric}, got {_words(self.y)}")
        split = {part: torch.from_numpy(np.asarray(ids)) for part, ids in self.split.items()}
        check_split(split, nodes)
        for ids in split.values():
            check_known(torch.from_numpy(self.y[ids.numpy()]), ids, self.num_outputs, binary)
        release(self.y)


def as_arrays(dataset: NodeDataset | LargeNodeDataset) -> LargeNodeDataset:
    """The same task as arrays of NumPy, with a digest of its content.

    Raises:
        ValueError: for a graph with edge weights.
    """
    if isinstance(dataset, LargeNodeDataset):
        return dataset
    if dataset.edge_weight is not None:
        raise ValueError(f"data must have no edge weights to be cut into parts, got those of {dataset.name}")
    arrays = [tensor.contiguous().numpy() for tensor in (dataset.x, dataset.edge_index, dataset.y)]
    split = {name: dataset.split[name].numpy() for name in PARTS}
    digest = hashlib.sha256()
    for array in (*arrays, *split.values()):
        digest.update(_words(array).encode())  # or a split whose border has moved would be the same bytes
        digest.update(np.ascontiguousarray(array))
    facts = dataset.num_outputs, dataset.metric, digest.hexdigest()
    return LargeNodeDataset(dataset.name, *arrays, split, *facts, synthetic=dataset.synthetic)


def release(array: np.ndarray) -> None:
    """Gives back the memory in which parts of a mapped file were read or written; the file keeps them."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def tensor(array: np.ndarray) -> torch.Tensor:
    """A copy in memory."""
    return torch.from_numpy(np.array(array))


def _words(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"
