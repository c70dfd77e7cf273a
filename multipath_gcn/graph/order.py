"""Orders of the nodes of a square matrix in which neighbours lie near one another."""

import numpy as np
import torch
from torch import Tensor

from multipath_gcn.graph import csr

ORDERS = ("rcm", "degree")


def nodes_in_order(by: str | Tensor, graph) -> Tensor:
    """int64 [N], the nodes in their new order."""
    if graph.shape[0] != graph.shape[1]:
        raise ValueError(f"the graph must be square to be reordered, got shape {list(graph.shape)}")
    if isinstance(by, Tensor):
        every = torch.arange(graph.shape[0], device=by.device)
        if by.shape != every.shape or by.dtype != torch.int64 or not torch.equal(by.sort().values, every):
            raise ValueError(
                f"by must hold each of the {graph.shape[0]} nodes once as int64, got {by.dtype} {list(by.shape)}"
            )
        return by.to(graph.device)
    if by not in ORDERS:
        raise ValueError(f"by must be one of {list(ORDERS)} or a tensor of nodes, got {by!r}")
    if by == "degree":
        return graph.rowptr.diff().argsort(descending=True, stable=True)
    if graph.shape[0] == 0:  # which SciPy refuses
        return torch.empty(0, dtype=torch.int64, device=graph.device)
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    rowptr, col = graph.rowptr.cpu().numpy(), graph.col.cpu().numpy()
    pattern = csr_matrix((np.ones(len(col), np.int8), col, rowptr), shape=graph.shape)
    nodes = reverse_cuthill_mckee(pattern, symmetric_mode=graph.symmetric)
    return torch.from_numpy(nodes.astype(np.int64)).to(graph.device)


def permuted(graph, nodes: Tensor) -> tuple[tuple, Tensor]:
    """The parts of the matrix with ``nodes`` in their new order, and where each node then stands."""
    rank = torch.empty_like(nodes)
    rank[nodes] = torch.arange(nodes.numel(), device=nodes.device)
    size = graph.shape[0]
    key, entry = (rank[graph.row] * size + rank[graph.col.long()]).sort()
    rowptr = csr.rowptr_of(key // max(size, 1), size).to(graph.rowptr.dtype)
    weight = None if graph.weight is None else graph.weight[entry]
    scales = [None if t is None else t[nodes] for t in (graph.row_scale, graph.col_scale)]
    col = (key % max(size, 1)).to(graph.col.dtype)
    return (rowptr, col, weight, graph.shape, *scales, graph.symmetric), rank


def with_rows(matrix, rows: Tensor) -> tuple:
    """The parts of a matrix of these rows (int64) of another."""
    count = (matrix.rowptr[rows + 1] - matrix.rowptr[rows]).long()
    rowptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    shift = matrix.rowptr[rows].long() - rowptr[:-1]
    entry = torch.arange(int(rowptr[-1]), device=rows.device) + shift.repeat_interleave(count)
    weight = None if matrix.weight is None else matrix.weight[entry]
    row_scale = None if matrix.row_scale is None else matrix.row_scale[rows]
    shape = (rows.numel(), matrix.shape[1])
    index = csr.index_type(shape, entry.numel())
    return rowptr.to(index), matrix.col[entry].to(index), weight, shape, row_scale, matrix.col_scale, False
