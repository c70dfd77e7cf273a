"""Propagation over a sparse matrix in CSR, and its gradients, in plain PyTorch: the definition.

    A[i, j] = row_scale[i] weight[e] col_scale[j]       for the entry e of row i whose column col[e] is j

``weight`` [nnz] and the scales are of the type that sums are kept in (float64 for float64, else float32); what is None
counts as 1. Within a row the columns are strictly ascending. A matrix and its transpose are given together: the one
serves forward, the other the gradient.
"""

import torch
from torch import Tensor

from multipath_gcn.ops.reference.activate import activate, activate_grad


def propagate(x, rowptr, col, weight, row_scale, col_scale, rowptr_t, col_t, weight_t) -> Tensor:
    """y[i, f] = sum_j A[i, j] x[j, f]"""
    row, sent = messages(x, rowptr, col, weight, row_scale, col_scale)
    return sent.new_zeros(rowptr.numel() - 1, x.size(1)).index_add_(0, row, sent).to(x.dtype)


def propagate_out(out, x, rowptr, col, weight, row_scale, col_scale, kept, dropout) -> None:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    wide = wide if kept is None else activate_grad(wide, kept, dropout)[0]
    out.copy_(propagate(wide, rowptr, col, weight, row_scale, col_scale, None, None, None))


def propagate_activated(
    x, rowptr, col, weight, row_scale, col_scale, rowptr_t, col_t, weight_t, bias, relu, dropout, seed
) -> tuple[Tensor, Tensor]:
    """drop(relu(y + bias)) of the same y, and which values have a slope: see activate.py."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    y = propagate(wide, rowptr, col, weight, row_scale, col_scale, rowptr_t, col_t, weight_t)
    y, kept = activate(y, None if bias is None else bias.to(y.dtype), relu, dropout, seed)
    return y.to(x.dtype), kept


def propagate_activated_out(out, x, rowptr, col, weight, row_scale, col_scale, *activation) -> Tensor:
    matrix = rowptr, col, weight, row_scale, col_scale
    y, kept = propagate_activated(x, *matrix, None, None, None, *activation)
    out.copy_(y)
    return kept


def propagate_weight_grad(grad, x, rowptr, col, row_scale, col_scale) -> Tensor:
    """dweight[e] = row_scale[i] col_scale[j] sum_f grad[i, f] x[j, f], [nnz] of the type of sums."""
    row, value = entries(rowptr, col, None, row_scale, col_scale, x)
    return value * (grad.to(value.dtype)[row] * x.to(value.dtype)[col.long()]).sum(1)


def propagate_extreme(
    x, rowptr, col, weight, row_scale, col_scale, rowptr_t, col_t, weight_t, largest
) -> tuple[Tensor, Tensor]:
    """y[i, f] = max_j A[i, j] x[j, f] over stored entries, or the least, and the j it came from (int32).

    An empty row gives 0 from -1; of equals the first counts; a NaN wins, the first one.
    """
    row, sent = messages(x, rowptr, col, weight, row_scale, col_scale)
    shape = rowptr.numel() - 1, x.size(1)
    place = row[:, None].expand_as(sent)
    y = sent.new_zeros(shape).scatter_reduce(0, place, sent, "amax" if largest else "amin", include_self=False)
    found = (sent == y[row]) | (sent.isnan() & y[row].isnan())
    candidates = torch.where(found, col.long()[:, None], x.size(0))
    source = candidates.new_full(shape, x.size(0)).scatter_reduce(0, place, candidates, "amin")
    return y.to(x.dtype), source.masked_fill(source == x.size(0), -1).int()


def propagate_extreme_grad(grad, source, rowptr, col, weight, row_scale, col_scale) -> Tensor:
    """dx[j, f] = sum_i A^T[j, i] grad[i, f] [source[i, f] = j]; the matrix is the transposed one."""
    row, value = entries(rowptr, col, weight, row_scale, col_scale, grad)
    col = col.long()
    taken = torch.where(source.long()[col] == row[:, None], grad.to(value.dtype)[col], 0)
    dx = value.new_zeros(rowptr.numel() - 1, grad.size(1))
    return dx.index_add_(0, row, value[:, None] * taken).to(grad.dtype)


def messages(x, rowptr, col, weight, row_scale, col_scale) -> tuple[Tensor, Tensor]:
    """Row of every entry and A[i, j] x[j, f], [nnz, F] of the type of sums."""
    row, value = entries(rowptr, col, weight, row_scale, col_scale, x)
    return row, value[:, None] * x.to(value.dtype)[col.long()]


def entries(rowptr, col, weight, row_scale, col_scale, x) -> tuple[Tensor, Tensor]:
    """Row and value of every entry, values of the type that sums of ``x`` are kept in."""
    row = torch.repeat_interleave(rowptr.diff().long(), output_size=col.numel())
    value = torch.ones(col.numel(), dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    value = value if weight is None else value * weight
    value = value if row_scale is None else value * row_scale[row]
    return row, value if col_scale is None else value * col_scale[col.long()]
