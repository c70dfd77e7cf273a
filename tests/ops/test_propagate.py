import graphs
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch_geometric.nn import GCNConv

from multipath_gcn.graph import Graph
from multipath_gcn.ops import propagate

EDGES = {
    "directed": graphs.SIMPLE,
    "undirected": torch.cat([graphs.SIMPLE, graphs.SIMPLE.flip(0)], dim=1).unique(dim=1),
    "multi": graphs.MULTI,
}


def graph(name: str, weight=None) -> Graph:
    return Graph.normalized(EDGES[name], weight, num_nodes=graphs.N, dtype=torch.float64)


def reference(matrix, x, reduce):
    if reduce == "sum":
        return matrix @ x
    stored = matrix != 0
    if reduce == "mean":
        return matrix @ x / stored.sum(1, keepdim=True)
    return (matrix[:, :, None] * x).masked_fill(~stored[:, :, None], -torch.inf).amax(1)


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_value_and_gradients(name, reduce):
    matrix = graphs.dense(EDGES[name])
    x = torch.randn(graphs.N, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(propagate(graph(name), x, reduce), reference(matrix, x, reduce))
    assert gradcheck(lambda x: propagate(graph(name), x, reduce), (x,))
    if reduce != "max":
        assert gradgradcheck(lambda x: propagate(graph(name), x, reduce), (x,))


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_gradient_of_edge_weights(reduce):
    weight = torch.rand(graphs.MULTI.size(1), dtype=torch.float64, requires_grad=True)
    x = torch.randn(graphs.N, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda w, x: propagate(graph("multi", w), x, reduce), (weight, x))


@pytest.mark.parametrize("aggr", ["sum", "mean", "max"])
def test_agrees_with_pyg(aggr):
    conv = GCNConv(3, 3, bias=False, aggr=aggr)
    x = torch.randn(graphs.N, 3)
    ours = propagate(Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N), conv.lin(x), aggr)
    torch.testing.assert_close(ours, conv(x, graphs.SIMPLE), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_leading_dimensions_and_noncontiguous_input(reduce):
    x = torch.randn(3, 2, graphs.N, 8)[..., ::2]
    g = graph("directed")
    expected = torch.stack([torch.stack([propagate(g, part.contiguous(), reduce) for part in row]) for row in x])
    torch.testing.assert_close(propagate(g, x, reduce), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_types(dtype):
    x = torch.randn(graphs.N, 4, dtype=dtype)
    y = propagate(graph("directed"), x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), graphs.dense(graphs.SIMPLE) @ x.double(), rtol=0.02, atol=0.02)


def test_same_bits_at_every_call():
    x = torch.randn(graphs.N, 5, dtype=torch.float64)
    assert all(torch.equal(propagate(graph("multi"), x), propagate(graph("multi"), x)) for _ in range(5))


def test_refuses():
    with pytest.raises(ValueError, match=r"reduce must be one of \['sum', 'mean', 'max', 'min'\], got 'median'"):
        propagate(graph("directed"), torch.randn(6, 2), "median")
    with pytest.raises(ValueError, match=r"x must have shape \(\*, 6, F\), got \[5, 2\]"):
        propagate(graph("directed"), torch.randn(5, 2))
