"""Feature matrices that are mostly zeros, such as bags of words: sparse, and staying so.

Inside the library they are a :class:`~multipath_gcn.graph.Graph` of nodes and features; models take
``torch.sparse_csr`` from their callers too, and read it once.
"""

import torch
from torch import Tensor

from multipath_gcn.graph import Graph, cache
from multipath_gcn.ops.activate import activate, check_type
from multipath_gcn.ops.propagate import propagate
from multipath_gcn.ops.transposed import transposed

Features = Tensor | Graph


def compressed(x: Tensor, density: float = 0.2) -> Features:
    """``x`` [N, F] as a sparse matrix if at most the given part of its values differs from 0, else as it is.

    Up to a fifth, products with 64 filters take 1/1.1 to 1/7 of the time (benchmarks/results/sparse_features).
    """
    kept = x != 0
    if kept.sum() > density * x.numel():
        return x
    row, col = kept.nonzero().t()
    graph = Graph.from_adjacency(torch.stack([col, row]), num_nodes=(x.size(1), x.size(0)))
    return graph.with_weight(x[kept])


def read(x: Features) -> Features:
    """``torch.sparse_csr`` as a sparse matrix, read once for as long as the tensor lives unchanged."""
    if isinstance(x, Graph) or x.layout is torch.strided:
        return x
    return cache.from_adjacency(x, num_nodes=(x.size(1), x.size(0)))


def is_sparse(x: Features) -> bool:
    return isinstance(x, Graph)


def width(x: Features) -> int:
    return x.shape[-1]


def num_nodes(x: Features) -> int:
    return x.shape[-2]


def sparse_linear(x: Graph, weight: Tensor) -> Tensor:
    """x Wᵀ, in the type that ``weight`` (O, F) has, under autocast too: a sum over few features stays exact."""
    check_type("weight", weight)
    return propagate(x, transposed(weight))


def dropout(x: Features, p: float, training: bool = True) -> Features:
    """Zeroes every value with probability ``p`` and divides the others by 1 - p; of sparse ones only those stored."""
    if p == 0 or not training:
        return x
    if is_sparse(x):
        return x.with_weight(activate(_weight(x), None, None, p))
    return activate(x, None, None, p)


def drop_rows(x: Features, p: float) -> Features:
    """Zeroes every row of ``x`` [N, F] with probability ``p`` and divides the others by 1 - p."""
    if p == 0:
        return x
    if is_sparse(x):
        weight = _weight(x)
        return x.with_weight(weight * activate(weight.new_ones(x.shape[0]), None, None, p)[x.row])
    return x * activate(x.new_ones(x.size(0)), None, None, p).unsqueeze(1)


def _weight(x: Graph) -> Tensor:
    return torch.ones(x.num_entries, device=x.device) if x.weight is None else x.weight
