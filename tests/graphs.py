"""One small graph in every form PyG takes, and the dense matrix that all of them mean."""

import pytest
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.typing import WITH_TORCH_SPARSE, SparseTensor

N = 6
# A path, a triangle, a directed edge; node 5 is isolated.
SIMPLE = torch.tensor([[0, 1, 1, 2, 2, 0, 2, 3, 4], [1, 0, 2, 1, 0, 2, 3, 2, 0]])
# The same with a loop at 1, a double loop at 3 and the edge 0 -> 1 three times.
MULTI = torch.cat([SIMPLE, torch.tensor([[1, 3, 3, 0, 0], [1, 3, 3, 1, 1]])], dim=1)

needs_torch_sparse = pytest.mark.skipif(not WITH_TORCH_SPARSE, reason="torch-sparse is not installed")
SPARSE_TENSOR = pytest.param("SparseTensor", marks=needs_torch_sparse)
SPARSE = ["coo", "csr", "csc", SPARSE_TENSOR]


def forms(edge_index: Tensor, weight: Tensor | None = None) -> dict[str, tuple]:
    """Form -> (adjacency, edge_weight). ``adj_t`` is transposed: row = target."""
    value = torch.ones(edge_index.size(1)) if weight is None else weight
    coo = torch.sparse_coo_tensor(edge_index.flip(0), value, (N, N))
    found = {
        "edge_index": (edge_index, weight),
        "shuffled": (
            edge_index[:, (order := torch.randperm(edge_index.size(1)))],
            None if weight is None else weight[order],
        ),
        "EdgeIndex": (EdgeIndex(edge_index, sparse_size=(N, N)), weight),
        "coo": (coo, None),
        "csr": (_csr(edge_index.flip(0), value), None),
        "csc": (coo.coalesce().to_sparse_csc(), None),
    }
    if WITH_TORCH_SPARSE:
        found["SparseTensor"] = (
            SparseTensor(row=edge_index[1], col=edge_index[0], value=weight, sparse_sizes=(N, N)),
            None,
        )
    return found


def dense(edge_index: Tensor, weight: Tensor | None = None) -> Tensor:
    """The normalised matrix by its definition, in float64."""
    a = torch.zeros(N, N, dtype=torch.float64)
    value = torch.ones(edge_index.size(1)) if weight is None else weight
    a.index_put_((edge_index[1], edge_index[0]), value.double(), accumulate=True)
    looped = torch.zeros(N, dtype=torch.bool)
    looped[edge_index[0, edge_index[0] == edge_index[1]]] = True
    a += torch.diag((~looped).double())
    scale = a.sum(1).rsqrt()
    scale[a.sum(1) == 0] = 0
    return scale[:, None] * a * scale


def _csr(index: Tensor, value: Tensor) -> Tensor:
    """CSR that keeps parallel edges, as ``torch.sparse_csr_tensor`` allows."""
    order = (index[0] * N + index[1]).argsort(stable=True)
    rowptr = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(index[0], minlength=N).cumsum(0)])
    return torch.sparse_csr_tensor(rowptr, index[1, order], value[order], (N, N), check_invariants=False)
