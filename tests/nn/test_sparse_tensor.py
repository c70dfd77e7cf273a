"""Layers and networks on a ``SparseTensor`` compute what they compute on the same edges."""

import graphs
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv as PyGConv
from torch_geometric.transforms import ToSparseTensor

from multipath_gcn.nn import GCNConv, MultiPathGCN

pytest.importorskip("torch_sparse")
from torch_sparse import SparseTensor

N = graphs.N
X = torch.randn(N, 4, dtype=torch.float64)
EDGES = {"SIMPLE": graphs.SIMPLE, "MULTI": graphs.MULTI}
MODULES = {
    "GCNConv": lambda **options: GCNConv(4, 9, **options),
    "narrow GCNConv": lambda **options: GCNConv(4, 2, **options),
    "MultiPathGCN": lambda **options: MultiPathGCN(4, 6, 3, **options),
    "stem of 2": lambda **options: MultiPathGCN(4, 6, 3, stem=2, paths=((6,), (6, 6), ()), **options),
}


def sparse(edges, value=None):
    return SparseTensor(row=edges[1], col=edges[0], value=value, sparse_sizes=(N, N))


def with_gradients(module, x, adjacency, weight=None, leaf=None):
    x = x.clone().requires_grad_()
    y = module(x, adjacency) if weight is None else module(x, adjacency, weight)
    leaves = [x, *module.parameters(), *([] if leaf is None else [leaf])]
    return [y, *torch.autograd.grad(y.square().sum(), leaves)]


@pytest.mark.parametrize("aggr", ["add", "mean", "max", "min"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("module", MODULES)
def test_values_and_every_gradient(module, edges, weighted, aggr):
    module, edges = MODULES[module](aggr=aggr).double(), EDGES[edges]
    weight = torch.rand(edges.size(1), dtype=torch.float64, requires_grad=True) if weighted else None
    expected = with_gradients(module, X, edges, weight, weight)
    found = with_gradients(module, X, sparse(edges, weight), leaf=weight)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "options", [{}, dict(improved=True), dict(add_self_loops=False), dict(normalize=False)], ids=str
)
def test_is_pygs_layer_on_a_simple_graph(options, weighted):
    theirs, ours = PyGConv(4, 5, **options).double(), GCNConv(4, 5, **options).double()
    ours.load_state_dict(theirs.state_dict())
    adj_t = sparse(graphs.SIMPLE, torch.rand(9, dtype=torch.float64) if weighted else None)
    torch.testing.assert_close(with_gradients(ours, X, adj_t), with_gradients(theirs, X, adj_t), rtol=1e-9, atol=1e-11)


def test_of_pygs_transform():
    data = ToSparseTensor()(Data(X, graphs.SIMPLE, num_nodes=N))
    assert isinstance(data.adj_t, SparseTensor)
    model = MultiPathGCN(4, 6, 3).double().eval()
    expected = model(X, graphs.SIMPLE)
    torch.testing.assert_close(model(data.x, data.adj_t), expected)
    torch.testing.assert_close(model.inference(data.adj_t, data.x), expected)


@pytest.mark.parametrize("module", MODULES)
def test_one_module_on_one_graph_after_another(module):
    module, one, other = MODULES[module]().double(), sparse(graphs.SIMPLE), sparse(graphs.MULTI)
    for _ in range(2):
        for adj_t, edges in ((one, graphs.SIMPLE), (other, graphs.MULTI)):
            torch.testing.assert_close(module(X, adj_t), module(X, edges))


def test_a_training_loop_normalises_it_once():
    first, second = GCNConv(4, 3).double(), GCNConv(4, 5).double()
    adj_t = sparse(graphs.MULTI, torch.rand(graphs.MULTI.size(1)))
    assert first.graph(X, adj_t) is first.graph(X, adj_t) is second.graph(X, adj_t)
    assert first.graph(X, adj_t.clone()) is not first.graph(X, adj_t)
