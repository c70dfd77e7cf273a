"""The weights that a graph convolution gives the edges of a graph, and the loops it adds."""

import torch
from torch import Tensor
from torch_geometric.typing import OptTensor

from multipath_gcn.graph.csr import Csr, rows_of
from multipath_gcn.graph.forms import Entries


def with_loops(entries: Entries, num_nodes: int, fill: float, dtype: torch.dtype) -> Entries:
    """Every node that has no loop gets one of weight ``fill``: in a graph without weights of type ``dtype``."""
    row, col, weight = entries
    bare = torch.ones(num_nodes, dtype=torch.bool, device=row.device)
    bare[row[row == col]] = False
    loops = bare.nonzero().view(-1)
    if weight is None and fill != 1:
        weight = torch.ones(row.numel(), dtype=dtype, device=row.device)
    if weight is not None:
        weight = torch.cat([weight, weight.new_full((loops.numel(),), fill)])
    return torch.cat([row, loops]), torch.cat([col, loops]), weight


def inverse_roots(csr: Csr, columns: int) -> tuple[Tensor, Tensor]:
    r""":math:`D^{-1/2}` of the sums of rows and of columns, 0 where a sum is 0.

    In float64, or in the weights' type if they have a gradient.

    Raises:
        ValueError: for a negative sum.
    """
    rowptr, col, weight = csr
    if weight is None:
        sums = rowptr.diff().double(), torch.bincount(col, minlength=columns).double()
    else:
        wide = weight if weight.requires_grad else weight.double()
        row = rows_of(rowptr, col.numel())
        sums = (
            wide.new_zeros(rowptr.numel() - 1).index_add(0, row, wide),
            wide.new_zeros(columns).index_add(0, col, wide),
        )
    for degree in sums:
        if not (degree >= 0).all():
            raise ValueError(f"edge_weight must give every node a degree >= 0, got {degree.min().item():g}")
    return _inverse_root(sums[0]), _inverse_root(sums[1])


def _inverse_root(degree: Tensor) -> Tensor:
    bare = degree == 0
    return degree.masked_fill(bare, 1.0).rsqrt().masked_fill(bare, 0.0)


def scaled(csr: Csr, row_scale: Tensor, col_scale: Tensor) -> OptTensor:
    """weight[e] row_scale[i] col_scale[j] of the type of the weights."""
    rowptr, col, weight = csr
    # this order is symmetric to the last bit
    return weight * (row_scale[rows_of(rowptr, col.numel())] * col_scale[col]).to(weight.dtype)
