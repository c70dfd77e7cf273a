"""Layers of large graphs, computed in memory that the graph keeps, equal the operators they are made of."""

import graphs
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from multipath_gcn.graph import Graph
from multipath_gcn.nn import GCNConv, MultiPathGCN
from multipath_gcn.ops import ChannelWindows, activate, channel_transform, graph_transform, propagate
from multipath_gcn.ops.graph_transform import transform_activate, transform_propagate

BOTH = torch.cat([graphs.SIMPLE, graphs.SIMPLE.flip(0)], dim=1).unique(dim=1)
WINDOWS = {"dense": ChannelWindows.dense(6, 5), "sliding": ChannelWindows.sliding(6, 5, 2, 0.5)}


@pytest.fixture(params=["directed", "undirected"])
def graph(request):
    edges = BOTH if request.param == "undirected" else graphs.SIMPLE
    return Graph.normalized(edges, num_nodes=graphs.N, dtype=torch.float64)


def operands(windows):
    x = torch.randn(graphs.N, windows.in_channels, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(windows.out_channels, windows.width, dtype=torch.float64, requires_grad=True)
    return x, weight, torch.randn(windows.out_channels, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("windows", WINDOWS.values(), ids=WINDOWS)
def test_values_and_gradients_of_any_order(graph, windows, activation):
    x, weight, bias = operands(windows)

    def first(x, weight, bias):
        return transform_propagate(graph, x, weight, windows, bias, activation, 0.0)

    def last(x, weight, bias):
        return transform_activate(graph, x, weight, windows, bias, activation, 0.0)

    composed = propagate(graph, channel_transform(x, weight, windows), bias=bias, activation=activation)
    torch.testing.assert_close(first(x, weight, bias), composed)
    composed = activate(channel_transform(x, weight, windows), bias, activation)
    torch.testing.assert_close(last(x, weight, bias), composed)
    for call in (first, last):
        assert gradcheck(call, (x, weight, bias))
        assert gradgradcheck(call, (x, weight, bias))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("options", [{}, dict(aggr="mean"), dict(transform="sliding", groups=2), dict(norm="layer")])
def test_networks_are_the_same_in_either_way(monkeypatch, options, dropout):
    torch.manual_seed(0)
    edges = torch.randint(0, 300, (2, 2000))
    graph = Graph.normalized(edges, num_nodes=300)
    x = torch.randn(300, 16, requires_grad=True)
    model = MultiPathGCN(16, 16, 4, paths=((16, 16), (8, 16), ()), dropout=dropout, **options)
    found = []
    for least in (0, 2**62):
        monkeypatch.setattr(graph_transform, "LEAST", least)
        torch.manual_seed(1)
        y = model(x, graph)
        grads = torch.autograd.grad(y.square().sum(), [x, *model.parameters()], allow_unused=True)
        found.append([y, *(g for g in grads if g is not None)])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_the_workspace_is_used_again_and_belongs_to_its_graph(monkeypatch):
    monkeypatch.setattr(graph_transform, "LEAST", 0)
    graph = Graph.normalized(BOTH, num_nodes=graphs.N)
    conv, x = GCNConv(6, 5), torch.randn(graphs.N, 6, requires_grad=True)
    for _ in range(3):
        conv(x, graph).sum().backward()
        kept = [buffer.data_ptr() for buffer in graph.workspace._free]
    conv(x, graph).sum().backward()
    assert sorted(buffer.data_ptr() for buffer in graph.workspace._free) == sorted(kept)
    assert 1 <= len(kept) <= 3
    assert not Graph.normalized(BOTH, num_nodes=graphs.N).workspace._free


def test_what_is_lent_is_nobody_elses():
    workspace = Graph.normalized(BOTH, num_nodes=graphs.N).workspace
    with workspace.tensor((4, 2), torch.float32) as a, workspace.tensor((8,), torch.float64) as b:
        assert a.data_ptr() != b.data_ptr() and a.shape == (4, 2) and b.dtype == torch.float64
    with workspace.tensor((2, 2), torch.bfloat16) as c, workspace.tensor((1,), torch.float32) as d:
        assert {c.data_ptr(), d.data_ptr()} == {a.data_ptr(), b.data_ptr()}


def test_refuses():
    graph = Graph.normalized(BOTH, num_nodes=graphs.N)
    with pytest.raises(ValueError, match=r"x must have 6 channels, got shape \[6, 3\]"):
        transform_propagate(graph, torch.randn(6, 3), torch.randn(5, 6), WINDOWS["dense"], None, None, 0.0)
    with pytest.raises(ValueError, match=r"bias must have shape \[5\], got \[4\]"):
        transform_activate(graph, torch.randn(6, 6), torch.randn(5, 6), WINDOWS["dense"], torch.ones(4), None, 0.0)
