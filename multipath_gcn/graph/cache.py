"""Graphs made from ``edge_index`` and its like, kept while their tensors live unchanged.

A training loop that gives its layers the same ``edge_index`` in every step has it normalised once. An entry is found by
the tensors themselves and their version counters, never by their values or addresses alone, and dies with them.
"""

import weakref
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from torch_geometric.typing import Adj, OptTensor, SparseTensor

from multipath_gcn.graph.graph import Graph
from multipath_gcn.graph.versions import lasting, versions

MOST = 32  # graphs; loaders of subgraphs make a new one for every batch
_kept: OrderedDict[tuple, tuple[tuple, tuple, Graph]] = OrderedDict()


def normalized(adjacency: Adj | Graph, edge_weight: OptTensor = None, **options: Any) -> Graph:
    """:meth:`Graph.normalized`, of tensors seen before without doing it again; ``reverse`` turns the edges round."""
    return _lookup(Graph.normalized, adjacency, edge_weight, options)


def from_adjacency(adjacency: Adj | Graph, edge_weight: OptTensor = None, **options: Any) -> Graph:
    """:meth:`Graph.from_adjacency` in the same way."""
    return _lookup(Graph.from_adjacency, adjacency, edge_weight, options)


def _lookup(make: Any, adjacency: Adj | Graph, edge_weight: OptTensor, options: dict[str, Any]) -> Graph:
    held, form = _held(adjacency)
    tensors = held if edge_weight is None else (*held, edge_weight)
    if isinstance(adjacency, Graph) or not _can_be_kept(tensors):
        return _made(make, adjacency, edge_weight, **options)
    key = (make.__name__, form, *map(id, tensors), *options.items())
    references, counted, graph = _kept.get(key, ((), None, None))
    same = len(references) == len(tensors) and all(r() is t for r, t in zip(references, tensors, strict=True))
    if not same or counted != versions(*tensors):
        # A graph may hold these tensors, and must not keep the key alive.
        weight = None if edge_weight is None else edge_weight.detach()
        graph = lasting(lambda: _made(make, _detached(adjacency), weight, **options))
        references = tuple(weakref.ref(t, lambda _, key=key: _kept.pop(key, None)) for t in tensors)
        _kept[key] = references, versions(*tensors), graph
        if len(_kept) > MOST:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return graph


def _made(make: Any, adjacency: Adj | Graph, edge_weight: OptTensor, reverse: bool = False, **options: Any) -> Graph:
    if reverse and isinstance(adjacency, Tensor) and adjacency.dim() == 2:
        adjacency = adjacency.flip(0)
    return make(adjacency, edge_weight, **options)


def _held(adjacency: Adj | Graph) -> tuple[tuple, tuple]:
    """The objects that say which graph it is, and what else does: a ``SparseTensor`` may be given other tensors."""
    if not isinstance(adjacency, SparseTensor):
        return (adjacency,), ()
    row, col, value = adjacency.coo()
    return ((row, col) if value is None else (row, col, value)), (value is None, *adjacency.sizes())


def _detached(adjacency: Adj) -> Adj:
    if not isinstance(adjacency, SparseTensor):
        return adjacency
    row, col, value = (None if t is None else t.detach() for t in adjacency.coo())
    sizes = adjacency.sparse_sizes()
    return SparseTensor(row=row, col=col, value=value, sparse_sizes=sizes, is_sorted=True, trust_data=True)


def _can_be_kept(tensors: tuple) -> bool:
    """Not what autograd or a trace goes through, nor what keeps no count of its changes."""
    if torch.compiler.is_compiling() or not all(isinstance(t, Tensor) for t in tensors):
        return False
    return versions(*tensors) is not None and not any(t.requires_grad for t in tensors)
