import graphs
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multipath_gcn.graph import Graph
from multipath_gcn.ops import activate, combine, dropout_mask, propagate

REDUCTIONS = ("sum", "mean", "max", "min")
EDGES = {
    "directed": graphs.SIMPLE,
    "undirected": torch.cat([graphs.SIMPLE, graphs.SIMPLE.flip(0)], dim=1).unique(dim=1),
    "parallel": graphs.MULTI,
}
SEED = torch.tensor(5)
LAST = {
    "bare": {},
    "relu": dict(activation="relu"),
    "dropout": dict(dropout=0.4, seed=SEED),
    "both": dict(activation="relu", dropout=0.4, seed=SEED),
}


def leaf(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def check(function, *inputs):
    return gradcheck(function, inputs) and gradgradcheck(function, inputs)


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("name", EDGES)
def test_first_and_second_order(name, reduce, last):
    graph = Graph.normalized(EDGES[name], num_nodes=graphs.N, dtype=torch.float64)
    x, bias = leaf(graphs.N, 3), leaf(3)
    assert check(lambda x: propagate(graph, x, reduce, **LAST[last]), x)
    assert check(lambda x, bias: propagate(graph, x, reduce, bias=bias, **LAST[last]), x, bias)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("normalize", [False, True])
def test_edge_weights(normalize, reduce):
    make = Graph.normalized if normalize else Graph.from_adjacency
    weight = torch.rand(graphs.MULTI.size(1), dtype=torch.float64, requires_grad=True)

    def f(weight, x, bias):
        graph = make(graphs.MULTI, weight, num_nodes=graphs.N)
        return propagate(graph, x, reduce, bias=bias, **LAST["both"])

    assert check(f, weight, leaf(graphs.N, 2), leaf(2))


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_bipartite_reordered_and_batched(reduce):
    graph = Graph.from_adjacency(torch.tensor([[0, 3, 1, 3], [1, 0, 1, 1]]), num_nodes=(4, 2))
    assert check(lambda x: propagate(graph, x, reduce, activation="relu"), leaf(4, 2))
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N, dtype=torch.float64).reordered("degree")
    assert check(lambda x: propagate(graph, x, reduce), leaf(2, graphs.N, 2))


@pytest.mark.parametrize("last", ["relu", "dropout", "both"])
def test_activate_and_combine(last):
    options = {"activation": None} | LAST[last]
    assert check(lambda x, bias: activate(x, bias, **options), leaf(5, 9), leaf(9))
    assert check(lambda x: activate(x, **options), leaf(2, 3, 4))
    assert check(lambda *parts: combine(parts, 0.3), leaf(4, 3), leaf(4, 3), leaf(4, 3))
    x = leaf(4, 3)
    assert check(lambda x: combine([x, x]), x)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_dense_composition_has_the_same_gradients(reduce):
    matrix = graphs.dense(graphs.SIMPLE)
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N)
    x, bias, grad = leaf(graphs.N, 70), leaf(70), torch.randn(graphs.N, 70, dtype=torch.float64)
    mask = dropout_mask((graphs.N, 70), 0.4, SEED).double() / 0.6
    messages, stored = matrix[:, :, None] * x, (matrix != 0)[:, :, None]
    sums = {
        "sum": lambda: matrix @ x,
        "mean": lambda: matrix @ x / stored.sum(1),
        "max": lambda: messages.masked_fill(~stored, -torch.inf).amax(1),
        "min": lambda: messages.masked_fill(~stored, torch.inf).amin(1),
    }
    expected = (sums[reduce]() + bias).relu() * mask
    y = propagate(graph, x, reduce, bias=bias, activation="relu", dropout=0.4, seed=SEED)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-12)
    theirs = torch.autograd.grad(expected, (x, bias), grad)
    torch.testing.assert_close(torch.autograd.grad(y, (x, bias), grad), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_have_the_type_of_what_they_are_of(dtype):
    weight = torch.rand(graphs.SIMPLE.size(1), requires_grad=True)
    x, bias = (torch.randn(s, dtype=dtype, requires_grad=True) for s in ((graphs.N, 9), (9,)))
    graph = Graph.normalized(graphs.SIMPLE, weight, num_nodes=graphs.N)
    propagate(graph, x, bias=bias, activation="relu").sum().backward()  # an expanded gradient
    assert (x.grad.dtype, bias.grad.dtype, weight.grad.dtype) == (dtype, dtype, torch.float32)
    wide = [t.detach().double().requires_grad_() for t in (weight, x, bias)]
    graph = Graph.normalized(graphs.SIMPLE, wide[0], num_nodes=graphs.N)
    propagate(graph, wide[1], bias=wide[2], activation="relu").sum().backward()
    tolerance = 0.05 if dtype is torch.bfloat16 else 1e-5
    for found, exact in zip((weight, x, bias), wide, strict=True):
        torch.testing.assert_close(found.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduce", ["max", "min"])
def test_of_equals_the_first_has_the_gradient(reduce, weighted):
    weight = torch.ones(3, requires_grad=True) if weighted else None
    graph = Graph(torch.tensor([0, 3]), torch.tensor([0, 2, 3]), weight, (1, 4))
    x = torch.tensor([[2.0], [5.0], [2.0], [2.0]], requires_grad=True)
    propagate(graph, x, reduce).sum().backward()
    assert x.grad.flatten().tolist() == [1, 0, 0, 0]
    assert not weighted or weight.grad.tolist() == [2, 0, 0]


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize(("rows", "columns", "features"), [(3, 2, 0), (0, 2, 3), (3, 0, 2), (3, 2, 2)])
def test_without_entries_gradients_are_zero(rows, columns, features, reduce):
    graph = Graph(
        torch.zeros(rows + 1).long(), torch.zeros(0).long(), torch.zeros(0, requires_grad=True), (rows, columns)
    )
    for g in (graph, graph.with_weight(torch.zeros(0))):
        x, bias = leaf(columns, features), leaf(features)
        y = propagate(g, x, reduce, bias=bias, activation="relu")
        y.sum().backward()
        assert y.shape == (rows, features) and torch.equal(x.grad, torch.zeros_like(x))
        torch.testing.assert_close(bias.grad, rows * (bias > 0).double())
