"""Every form of graph that PyG knows, read into one: entries (target, source, weight)."""

import warnings

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.typing import Adj, OptTensor, SparseTensor

Entries = tuple[Tensor, Tensor, OptTensor]  # target, source (int64 [nnz]), weight (floating [nnz], or None for all 1)
Shape = tuple[int, int]  # numbers of targets and of sources
SPARSE_LAYOUTS = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


def csr_tensor(rowptr: Tensor, col: Tensor, value: Tensor, shape: Shape) -> Tensor:
    """``torch.sparse_csr_tensor`` of parts known to be valid, without the note that its support is in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(rowptr, col, value, shape, check_invariants=False)


def read(adjacency: Adj, edge_weight: OptTensor, shape: Shape) -> Entries:
    """Every stored edge, parallel ones included, all ids checked to lie within ``shape``.

    Weights that are all 1 and need no gradient are ``None``; others are float32 at least: sums of bool or half would
    be wrong.
    """
    if isinstance(adjacency, SparseTensor) or getattr(adjacency, "layout", None) in SPARSE_LAYOUTS:
        if edge_weight is not None:
            raise ValueError("edge_weight must be None with a sparse adj_t, which carries its own weights")
        row, col, weight = _from_sparse(adjacency, shape)
    else:
        row, col, weight = _from_edge_list(adjacency, edge_weight)
    for ids, count in ((row, shape[0]), (col, shape[1])):
        if ids.numel():
            low, high = map(int, ids.aminmax())
            if low < 0 or high >= count:
                raise ValueError(f"edge_index must hold node ids in [0, {count}), got [{low}, {high}]")
    if weight is not None:
        if weight.is_complex():
            raise ValueError(f"edge_weight must be real, got {weight.dtype}")
        if not weight.requires_grad and bool((weight == 1).all()):
            return row, col, None
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        if not weight.isfinite().all():
            edge = int((~weight.isfinite()).nonzero()[0])
            raise ValueError(f"edge_weight must be finite, got {weight[edge].item()} at edge {edge}")
    return row, col, weight


def _from_sparse(adj_t: Adj, shape: Shape) -> Entries:
    found = tuple(adj_t.sizes()) if isinstance(adj_t, SparseTensor) else tuple(adj_t.shape)
    if found != shape:
        raise ValueError(f"adj_t must have shape {list(shape)}, got {list(found)}")
    if isinstance(adj_t, SparseTensor):
        return adj_t.coo()
    coo = adj_t.to_sparse_coo()
    coo = coo.to(torch.promote_types(coo.dtype, torch.float32)).coalesce()
    return *coo.indices().long(), coo.values()


def _from_edge_list(edge_index: Tensor, edge_weight: OptTensor) -> Entries:
    if not isinstance(edge_index, Tensor):
        raise ValueError(f"edge_index must be a tensor or a Graph, got {type(edge_index).__name__}")
    if isinstance(edge_index, EdgeIndex):
        edge_index = edge_index.as_tensor()
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must have shape [2, E], got {list(edge_index.shape)}")
    if edge_index.is_floating_point() or edge_index.dtype == torch.bool:
        raise ValueError(f"edge_index must hold integers, got {edge_index.dtype}")
    source, target = edge_index.long()
    if edge_weight is not None:
        if not isinstance(edge_weight, Tensor) or edge_weight.layout is not torch.strided:
            got = edge_weight.layout if isinstance(edge_weight, Tensor) else type(edge_weight).__name__
            raise ValueError(f"edge_weight must be a dense tensor or None, got {got}")
        if edge_weight.shape != source.shape:
            raise ValueError(f"edge_weight must have shape [{source.numel()}], got {list(edge_weight.shape)}")
        if edge_weight.device != source.device:
            raise ValueError(
                f"edge_weight must be on the device of edge_index ({source.device}), got {edge_weight.device}"
            )
    return target, source, edge_weight
