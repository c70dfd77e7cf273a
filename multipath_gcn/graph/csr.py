"""From a list of entries to CSR: sorted, parallel entries added, the narrowest index type that holds all numbers."""

import torch
from torch import Tensor
from torch_geometric.typing import OptTensor

from multipath_gcn.graph.forms import Entries, Shape
from multipath_gcn.graph.versions import lasting, versions

Csr = tuple[Tensor, Tensor, OptTensor]  # rowptr, col, weight
_INT32_END = 2**31


def compressed(entries: Entries, shape: Shape) -> Csr:
    """Columns ascend strictly within each row; weights of parallel entries are added."""
    row, col, weight = entries
    key = row * shape[1] + col
    if not bool((key[1:] > key[:-1]).all()):
        key, order = key.sort(stable=True)
        weight = None if weight is None else weight[order]
        first = torch.ones_like(key, dtype=torch.bool)
        first[1:] = key[1:] != key[:-1]
        if not bool(first.all()):
            place = first.cumsum(0) - 1
            if weight is None:
                weight = torch.ones(key.numel(), device=key.device)
            key = key[first]
            weight = weight.new_zeros(key.numel()).index_add(0, place, weight)
        row, col = key // max(shape[1], 1), key % max(shape[1], 1)
    index = index_type(shape, col.numel())
    return rowptr_of(row, shape[0]).to(index), col.to(index), weight


def index_type(shape: Shape, entries: int) -> torch.dtype:
    return torch.int32 if max(*shape, entries) < _INT32_END else torch.int64


def rowptr_of(sorted_row: Tensor, num_rows: int) -> Tensor:
    return torch.searchsorted(sorted_row, torch.arange(num_rows + 1, device=sorted_row.device))


def rows_of(rowptr: Tensor, entries: int) -> Tensor:
    """int64 [nnz], the row of each entry."""
    return torch.repeat_interleave(rowptr.diff().long(), output_size=entries)


def transposed(rowptr: Tensor, col: Tensor, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """rowptr and col of the transpose, and which entry of the matrix each of its entries is (int64)."""
    order = col.argsort(stable=True)
    rowptr_t = rowptr_of(col[order].long(), shape[1]).to(rowptr.dtype)
    return rowptr_t, rows_of(rowptr, col.numel())[order].to(col.dtype), order


class Structure:
    """The transposed places of a matrix, found once for as long as its arrays are unchanged."""

    def __init__(self):
        self._found: tuple[Tensor, Tensor, Tensor] | None = None
        self._seen: tuple | None = None

    def of(self, rowptr: Tensor, col: Tensor, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
        now = versions(rowptr, col)
        if now is None:  # inside a trace, for one, which takes the places for what they were
            return transposed(rowptr, col, shape) if self._found is None else self._found
        if self._found is None or now != self._seen:
            self._found, self._seen = lasting(lambda: transposed(rowptr, col, shape)), now
        return self._found


def check(rowptr: Tensor, col: Tensor, shape: Shape) -> None:
    """What makes rowptr and col a matrix of this shape in CSR, each entry stored once."""
    for name, tensor in (("rowptr", rowptr), ("col", col)):
        if tensor.dtype not in (torch.int32, torch.int64) or tensor.dim() != 1 or tensor.dtype != rowptr.dtype:
            rule = "int32 or int64 of one dimension, rowptr and col alike"
            raise ValueError(f"{name} must be {rule}, got {tensor.dtype} {list(tensor.shape)}")
    if min(shape) < 0:
        raise ValueError(f"shape must hold two numbers of nodes and rowptr one entry at least, got {list(shape)}")
    if rowptr.numel() != shape[0] + 1:
        raise ValueError(f"rowptr must have shape [{shape[0] + 1}], got {list(rowptr.shape)}")
    if rowptr.device != col.device:
        raise ValueError(f"col must be on the device of rowptr ({rowptr.device}), got {col.device}")
    if int(rowptr[0]) != 0 or int(rowptr[-1]) != col.numel() or bool((rowptr[1:] < rowptr[:-1]).any()):
        span = f"from {int(rowptr[0])} to {int(rowptr[-1])}"
        raise ValueError(f"rowptr must ascend from 0 to the number of entries ({col.numel()}), got {span}")
    if col.numel() == 0:
        return
    low, high = map(int, col.aminmax())
    if low < 0 or high >= shape[1]:
        raise ValueError(f"col must hold node ids in [0, {shape[1]}), got [{low}, {high}]")
    falls = col[1:] <= col[:-1]
    begins = rowptr[1:-1].long()
    falls[begins[(begins > 0) & (begins < col.numel())] - 1] = False
    if bool(falls.any()):
        entry = int(falls.nonzero()[0]) + 1
        raise ValueError(f"col must ascend strictly within each row, got {int(col[entry])} after {int(col[entry - 1])}")
