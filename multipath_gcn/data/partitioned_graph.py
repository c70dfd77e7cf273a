"""A graph in parts on disk, of which subgraphs are read: what training by clusters sees of a data set."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multipath_gcn.data.large_dataset import release, tensor
from multipath_gcn.data.node_dataset import PARTS


@dataclass(frozen=True, eq=False)
class Subgraph:
    """The nodes of some parts, n of them, and the edges among them.

    Attributes:
        x: float32 [n, F].
        rowptr, col: CSR [n, n], every node with its loop.
        y: [n] or [n, T].
        nodes: of ``train``, ``valid`` and ``test``, the rows in here.
        positions: of the same, where they stand among all of their split.
    """

    x: Tensor
    rowptr: Tensor
    col: Tensor
    y: Tensor
    nodes: dict[str, Tensor]
    positions: dict[str, Tensor]


class PartitionedGraph:
    """What :func:`multipath_gcn.data.partitioned` has written.

    Only a few numbers per part, and the places of the split, are in memory; a subgraph is read piece by piece.

    Attributes:
        begins: int64 [P + 1], where each part begins.
        split: ascending int64 places of ``train``, ``valid`` and ``test``.
        symmetric: whether every edge goes both ways.
    """

    def __init__(self, folder: Path, name: str, num_outputs: int, metric: str, synthetic: bool):
        self.folder, self.name, self.num_outputs = folder, name, num_outputs
        self.metric, self.synthetic = metric, synthetic
        facts = json.loads((folder / "facts.json").read_text())
        self.symmetric: bool = facts["symmetric"]
        self.begins = torch.from_numpy(np.load(folder / "begins.npy"))
        self.split = {part: torch.from_numpy(np.load(folder / f"{part}.npy")) for part in PARTS}
        self._x, self._y, self._rowptr = (
            np.load(folder / f"{array}.npy", mmap_mode="r") for array in ("x", "y", "rowptr")
        )
        index = np.int32 if self.num_nodes < 2**31 else np.int64
        self._col = np.memmap(folder / "col.bin", index, "r", shape=(facts["entries"],))
        self._cuts = {part: torch.searchsorted(places, self.begins) for part, places in self.split.items()}
        self.entries = torch.from_numpy(self._rowptr[self.begins.numpy()]).diff()  # of the rows of each part
        release(self._rowptr)

    @property
    def num_nodes(self) -> int:
        return self._x.shape[0]

    @property
    def num_features(self) -> int:
        return self._x.shape[1]

    @property
    def num_parts(self) -> int:
        return self.begins.numel() - 1

    def counts(self, part: str) -> Tensor:
        """int64 [P], how many nodes of ``train``, ``valid`` or ``test`` each part has."""
        return self._cuts[part].diff()

    def order(self) -> Tensor:
        """int64 [N], the node of the data set at each place."""
        return torch.from_numpy(np.load(self.folder / "order.npy"))

    def labels(self, part: str) -> Tensor:
        """The labels of a split, in the order of its places."""
        found = self._classes(tensor(self._y[self.split[part].numpy()]))
        release(self._y)
        return found

    def _classes(self, y: Tensor) -> Tensor:
        return y.long() if self.metric == "acc" else y

    def read(self, parts: Tensor) -> Subgraph:
        """The subgraph of some parts, numbers in [0, P), each once: their nodes in ascending order of place."""
        parts = parts.sort().values
        first, end = self.begins[parts], self.begins[parts + 1]
        sizes = end - first
        offset = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        pieces = [slice(a, b) for a, b in zip(first.tolist(), end.tolist(), strict=True)]
        x = torch.cat([tensor(self._x[piece]) for piece in pieces]).float()
        y = self._classes(torch.cat([tensor(self._y[piece]) for piece in pieces]))
        rowptr, col = self._edges(first, end, offset, pieces)
        nodes, positions = {}, {}
        for part, places in self.split.items():
            cuts = self._cuts[part]
            spans = [slice(a, b) for a, b in zip(cuts[parts].tolist(), cuts[parts + 1].tolist(), strict=True)]
            shifts = (offset[:-1] - first).tolist()
            nodes[part] = torch.cat([places[span] + shift for span, shift in zip(spans, shifts, strict=True)])
            positions[part] = torch.cat([torch.arange(span.start, span.stop) for span in spans])
        for array in (self._x, self._y, self._rowptr, self._col):
            release(array)
        return Subgraph(x, rowptr, col, y, nodes, positions)

    def _edges(self, first: Tensor, end: Tensor, offset: Tensor, pieces: list[slice]) -> tuple[Tensor, Tensor]:
        counts, columns = [], []
        for piece in pieces:
            rowptr = tensor(self._rowptr[piece.start : piece.stop + 1])
            counts.append(rowptr.diff())
            columns.append(tensor(self._col[int(rowptr[0]) : int(rowptr[-1])]))
        count, col = torch.cat(counts), torch.cat(columns)
        # first0, end0, first1, end1, ...: a column that an odd number of them does not exceed lies in a chosen part
        bounds = torch.stack([first, end], dim=1).flatten().to(col.dtype)
        place = torch.bucketize(col, bounds, out_int32=True, right=True)
        inside = (place & 1).bool()
        shift = (offset[:-1] - first).to(col.dtype).repeat_interleave(2)
        kept = torch.cat([inside.new_zeros(1, dtype=torch.int64), inside.cumsum(0)])
        rows = torch.cat([count.new_zeros(1), count.cumsum(0)])
        return kept[rows].to(col.dtype), (col[inside] + shift[place[inside] - 1])
