"""Feature matrices that may be ``torch.sparse_csr``: a bag of words is mostly zeros, and stays so.

Products of CSR exist in float32 and float64 only, so that they are computed in one of these at any precision.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.parameter import is_lazy
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.graph import csr_tensor


def compressed(x: Tensor, density: float = 0.1) -> Tensor:
    """``x`` [N, F] in CSR if at most the given part of its values differs from 0, else as it is."""
    kept = x != 0
    if kept.sum() > density * x.numel():
        return x
    rowptr = F.pad(kept.sum(dim=1).cumsum(0), (1, 0))
    return csr_tensor(rowptr, kept.nonzero()[:, 1], x[kept], x.shape)


def linear(x: Tensor, lin: Linear) -> Tensor:
    """``lin(x)`` for either form, without bias for CSR, in the type that ``lin`` computes in."""
    if x.layout is not torch.sparse_csr:
        return lin(x)
    if is_lazy(lin.weight):
        lin.initialize_parameters(lin, (x,))
    wide = torch.promote_types(lin.weight.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        y = F.linear(x.to(wide), lin.weight.to(wide))
    return y.to(lin.weight.dtype)


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Zeroes every value with probability ``p`` and divides the others by 1 - p; of CSR only the stored values."""
    if x.layout is not torch.sparse_csr:
        return F.dropout(x, p, training)
    return _with_values(x, F.dropout(x.values(), p)) if training and p else x


def drop_rows(x: Tensor, p: float) -> Tensor:
    """Zeroes every row of ``x`` [N, F] with probability ``p`` and divides the others by 1 - p."""
    if p == 0:
        return x
    scale = F.dropout(torch.ones(x.size(0), dtype=x.dtype, device=x.device), p)
    if x.layout is not torch.sparse_csr:
        return x * scale.unsqueeze(1)
    return _with_values(x, x.values() * scale.repeat_interleave(x.crow_indices().diff()))


def _with_values(x: Tensor, values: Tensor) -> Tensor:
    return csr_tensor(x.crow_indices(), x.col_indices(), values, x.shape)
