"""Graphs of sources and targets, against PyG and dense products."""

import pytest
import torch
from torch_geometric.nn import LightGCN, SimpleConv

from multipath_gcn.graph import Graph, cache
from multipath_gcn.ops import propagate

SOURCES, TARGETS = 7, 4
EDGES = torch.tensor([[0, 3, 6, 3, 1, 5, 5], [1, 0, 1, 2, 1, 2, 0]])  # target 3 and some sources have none
WEIGHT = torch.linspace(0.5, 2, EDGES.size(1), dtype=torch.float64)
X = torch.randn(SOURCES, 3, dtype=torch.float64)


def dense(weight=None):
    a = torch.zeros(TARGETS, SOURCES, dtype=torch.float64)
    return a.index_put_((EDGES[1], EDGES[0]), torch.ones(EDGES.size(1)).double() if weight is None else weight)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("aggr", ["sum", "mean", "max", "min"])
def test_is_pygs_simple_convolution(aggr, weight):
    x, theirs = (X.clone().requires_grad_() for _ in range(2))
    y = propagate(Graph.from_adjacency(EDGES, weight, num_nodes=(SOURCES, TARGETS)), x, aggr)
    expected = SimpleConv(aggr)((theirs, None), EDGES, weight, size=(SOURCES, TARGETS))
    torch.testing.assert_close(y, expected)
    y.square().sum().backward(), expected.square().sum().backward()
    torch.testing.assert_close(x.grad, theirs.grad)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_normalised_by_the_sums_of_rows_and_columns(weight):
    graph = Graph.normalized(EDGES, weight, num_nodes=(SOURCES, TARGETS), dtype=torch.float64)
    a = dense(weight)
    roots = [s.rsqrt().masked_fill(s == 0, 0) for s in (a.sum(1), a.sum(0))]
    expected = roots[0][:, None] * a * roots[1]
    torch.testing.assert_close(graph.to_dense().double(), expected)
    assert graph.shape == (TARGETS, SOURCES) and not graph.symmetric
    torch.testing.assert_close(propagate(graph.transpose(), expected @ X), expected.T @ expected @ X)


def test_is_the_propagation_of_light_gcn():
    """LightGCN on the square graph of both kinds of nodes, one rectangular product for each kind."""
    model = LightGCN(SOURCES + TARGETS, 3, num_layers=1, alpha=torch.tensor([0.0, 1.0])).double()
    square = torch.stack([EDGES[0], EDGES[1] + SOURCES])
    expected = model.get_embedding(torch.cat([square, square.flip(0)], dim=1))
    users, items = model.embedding.weight[:SOURCES], model.embedding.weight[SOURCES:]
    graph = Graph.normalized(EDGES, num_nodes=(SOURCES, TARGETS), dtype=torch.float64)
    torch.testing.assert_close(propagate(graph, users), expected[SOURCES:])
    torch.testing.assert_close(propagate(graph.transpose(), items), expected[:SOURCES])


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_sparse_forms(layout):
    adj_t = dense(WEIGHT).to_sparse_coo() if layout == "coo" else dense(WEIGHT).to_sparse_csr()
    graph = cache.from_adjacency(adj_t, num_nodes=(SOURCES, TARGETS))
    torch.testing.assert_close(graph.to_dense(), dense(WEIGHT))
    with pytest.raises(ValueError, match=r"adj_t must have shape \[7, 4\], got \[4, 7\]"):
        Graph.from_adjacency(adj_t, num_nodes=(TARGETS, SOURCES))


def test_equal_numbers_get_no_loops_either():
    graph = Graph.normalized(torch.tensor([[0], [1]]), num_nodes=(2, 2))
    assert graph.to_dense().tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize(
    ("edges", "num_nodes", "message"),
    [
        ([[7], [0]], (7, 4), r"edge_index must hold node ids in \[0, 7\), got \[7, 7\]"),
        ([[0], [4]], (7, 4), r"edge_index must hold node ids in \[0, 4\), got \[4, 4\]"),
        ([[0], [0]], (7, 4, 2), r"num_nodes must be a number of nodes or a pair \(sources, targets\), got \(7, 4, 2\)"),
        ([[0], [0]], (7, -4), r"num_nodes must be .* got \(7, -4\)"),
        ([[0], [0]], 2.5, r"num_nodes must be .* got 2.5"),
    ],
)
def test_refuses(edges, num_nodes, message):
    for make in (Graph.normalized, Graph.from_adjacency, cache.normalized):
        with pytest.raises(ValueError, match=message):
            make(torch.tensor(edges), num_nodes=num_nodes)
