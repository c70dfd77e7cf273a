"""Reordered graphs take and give everything as the caller numbers the nodes."""

import copy

import graphs
import pytest
import torch

from multipath_gcn.graph import Graph
from multipath_gcn.nn import GCNConv, MultiPathGCN
from multipath_gcn.ops import keep_product, propagate

ORDERS = ["rcm", "degree", torch.tensor([3, 1, 0, 5, 4, 2])]
EDGES = {
    "directed": graphs.SIMPLE,
    "undirected": torch.cat([graphs.SIMPLE, graphs.SIMPLE.flip(0)], dim=1).unique(dim=1),
    "parallel": graphs.MULTI,
}
X = torch.randn(graphs.N, 4, dtype=torch.float64)
by_order = pytest.mark.parametrize("by", ORDERS, ids=["rcm", "degree", "given"])
by_name = pytest.mark.parametrize("name", EDGES)


def both(name, by):
    graph = Graph.normalized(EDGES[name], num_nodes=graphs.N, dtype=torch.float64)
    return graph, graph.reordered(by)


def with_gradients(f, x, parameters=()):
    x = x.clone().requires_grad_()
    y = f(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *parameters])]


@by_order
@by_name
@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_propagation(reduce, name, by):
    expected, found = (with_gradients(lambda x, g=g: propagate(g, x, reduce), X) for g in both(name, by))
    torch.testing.assert_close(found, expected)


@by_order
@by_name
@pytest.mark.parametrize("aggr", ["add", "mean", "max"])
@pytest.mark.parametrize("width", [3, 9])
def test_layers(width, aggr, name, by):
    torch.manual_seed(0)  # with some weights two neighbours are equally large, and either may get the gradient of max
    for model in (GCNConv(4, width, aggr=aggr).double(), MultiPathGCN(4, 6, width, aggr=aggr).double()):
        parameters = list(model.parameters())
        expected, found = (with_gradients(lambda x, g=g: model(x, g), X, parameters) for g in both(name, by))  # noqa: B023
        torch.testing.assert_close(found, expected)


@by_order
@by_name
def test_what_is_made_of_it(name, by):
    graph, other = both(name, by)
    for made in (lambda g: g, lambda g: g.transpose(), lambda g: g.averaged(), lambda g: g.transpose().transpose()):
        torch.testing.assert_close(made(other).to_dense(), made(graph).to_dense())
        torch.testing.assert_close(propagate(made(other), X), made(graph).to_dense() @ X)
    weight = torch.rand(graph.num_entries, dtype=torch.float64)
    weighted = other.with_weight(weight)
    torch.testing.assert_close(propagate(weighted, X), weighted.to_dense() @ X)
    assert other.symmetric == graph.symmetric
    keep_product(other, X)
    torch.testing.assert_close(GCNConv(4, 9).double()(X, other).shape, torch.Size((graphs.N, 9)))


@by_order
@by_name
def test_along_edges(name, by):
    """PyG's own way, which hooks ask for."""
    graph, other = both(name, by)
    conv = GCNConv(4, 3).double()
    expected = conv(X, graph)
    conv.register_message_forward_hook(lambda *_: None)
    torch.testing.assert_close(conv(X, other), expected)


def test_kept_products_are_in_the_callers_order():
    graph, other = both("directed", ORDERS[2])
    conv = GCNConv(4, 9).double()
    expected = conv(X, graph)
    keep_product(other, X)
    torch.testing.assert_close(conv(X, other), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda g: g.to("cpu")])
def test_copies_keep_the_order(copied):
    graph, other = both("directed", ORDERS[2])
    torch.testing.assert_close(propagate(copied(other), X), propagate(graph, X))
    assert "reordered" in repr(copied(other))


def test_neighbours_come_near():
    n = 200
    nodes = torch.randperm(n)
    path = torch.stack([nodes[:-1], nodes[1:]])
    graph = Graph.normalized(torch.cat([path, path.flip(0)], dim=1), num_nodes=n)

    def bandwidth(g):
        return int((g.row - g.col).abs().max())

    assert bandwidth(graph.reordered("rcm")) == 1 < bandwidth(graph)
    by_degree = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N).reordered("degree").rowptr.diff()
    assert torch.equal(by_degree, by_degree.sort(descending=True).values)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("random", r"by must be one of \['rcm', 'degree'\] or a tensor of nodes, got 'random'"),
        (torch.arange(5), r"by must hold each of the 6 nodes once as int64, got torch.int64 \[5\]"),
        (torch.zeros(6).long(), "by must hold each of the 6 nodes once"),
        (torch.arange(6).int(), "by must hold each of the 6 nodes once as int64, got torch.int32"),
    ],
)
def test_refuses(by, message):
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=6)
    with pytest.raises(ValueError, match=message):
        graph.reordered(by)
    with pytest.raises(ValueError, match="the graph must not be reordered already, got one that is"):
        graph.reordered().reordered()
    with pytest.raises(ValueError, match=r"the graph must be square to be reordered, got shape \[2, 4\]"):
        Graph.from_adjacency(torch.empty(2, 0).long(), num_nodes=(4, 2)).reordered()


@pytest.mark.parametrize("by", ["rcm", "degree"])
def test_an_empty_graph(by):
    graph = Graph.normalized(torch.empty(2, 0, dtype=torch.long), num_nodes=0).reordered(by)
    assert GCNConv(4, 3)(torch.empty(0, 4), graph).shape == (0, 3)


def test_rows_of_a_matrix():
    weighted, scaled = (Graph.normalized(EDGES[name], num_nodes=graphs.N) for name in ("parallel", "directed"))
    for matrix in (weighted, scaled):
        for rows in ([3, 0, 5, 4, 1, 2], [2, 2], [], [5]):
            rows = torch.tensor(rows, dtype=torch.int64)
            assert torch.equal(matrix.take(rows).to_dense(), matrix.to_dense()[rows])
