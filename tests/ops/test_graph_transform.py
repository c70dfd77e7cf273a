"""Layers of large graphs, computed in memory that the graph keeps, equal the operators they are made of."""

import gc

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
@pytest.mark.parametrize("paths", [((16, 16), (8, 16), ()), ((16, 16), (8, 16)), ((), (16,))], ids=str)
@pytest.mark.parametrize("options", [{}, dict(aggr="mean"), dict(transform="sliding", groups=2), dict(norm="layer")])
def test_networks_are_the_same_in_either_way(monkeypatch, options, paths, dropout):
    torch.manual_seed(0)
    edges = torch.randint(0, 300, (2, 2000))
    graph = Graph.normalized(edges, num_nodes=300, dtype=torch.float64)
    x = torch.randn(300, 16, dtype=torch.float64, requires_grad=True)
    model = MultiPathGCN(16, 16, 4, paths=paths, dropout=dropout, **options).double()
    found = []
    for least in (0, 2**62):
        monkeypatch.setattr(graph_transform, "LEAST", least)
        monkeypatch.setattr(graph_transform, "TILE", 100)  # several tiles
        torch.manual_seed(1)
        y = model(x, graph)
        grads = torch.autograd.grad(y.square().sum(), [x, *model.parameters()], allow_unused=True)
        found.append([y, *(g for g in grads if g is not None)])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


def test_a_sum_of_paths_takes_the_place_of_one_that_nobody_has_seen(monkeypatch):
    monkeypatch.setattr(graph_transform, "LEAST", 0)
    graph = Graph.normalized(BOTH, num_nodes=graphs.N)
    model = MultiPathGCN(6, 8, 3, paths=((8, 8), (4, 8)))
    added = []
    monkeypatch.setattr(torch.Tensor, "add_", lambda a, b, add=torch.Tensor.add_: (added.append(a), add(a, b))[1])
    x = torch.randn(graphs.N, 6)
    expected = model(x, graph)
    assert len(added) == 1
    seen = []
    model.paths[0][-1].register_forward_hook(lambda module, args, y: seen.append((y, y.clone())))
    torch.testing.assert_close(model(x, graph), expected)
    assert len(added) == 1
    torch.testing.assert_close(*seen[0], rtol=0, atol=0)


@pytest.mark.parametrize("frozen", ["weights", "biases", "nothing"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_frozen_parameters_and_narrow_types(monkeypatch, frozen, dtype):
    torch.manual_seed(0)
    graph, found = Graph.normalized(torch.randint(0, 300, (2, 2000)), num_nodes=300), []
    x, model = torch.randn(300, 16), MultiPathGCN(16, 16, 4, paths=((16, 16), (8, 16)))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.endswith({"weights": "weight", "biases": "bias"}.get(frozen, "-")))
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    monkeypatch.setattr(graph_transform, "TILE", 100)
    for least in (0, 2**62):
        monkeypatch.setattr(graph_transform, "LEAST", least)
        with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
            y = model(x, graph)
        found.append(torch.autograd.grad(y.float().square().sum(), wanted))
    for ours, theirs in zip(*found, strict=True):
        near = 2e-2 if dtype is torch.bfloat16 else 1e-5
        torch.testing.assert_close(ours, theirs, rtol=near, atol=near * theirs.abs().max().item())


def test_a_hook_on_all_modules_keeps_what_it_has_seen(monkeypatch):
    monkeypatch.setattr(graph_transform, "LEAST", 0)
    graph, model = Graph.normalized(BOTH, num_nodes=graphs.N), MultiPathGCN(6, 8, 3, paths=((8, 8), (4, 8)))
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, args, y: seen.append((y, y.clone())))
    try:
        model(torch.randn(graphs.N, 6), graph)
    finally:
        handle.remove()
    assert len(seen) > 4 and all(torch.equal(*pair) for pair in seen)


def test_the_workspace_is_used_again_and_belongs_to_its_graph(monkeypatch):
    monkeypatch.setattr(graph_transform, "LEAST", 0)
    graph = Graph.normalized(BOTH, num_nodes=graphs.N)
    conv, x = GCNConv(6, 5), torch.randn(graphs.N, 6, requires_grad=True)
    for _ in range(3):
        conv(x, graph).sum().backward()
        x.grad = None
        kept = graph.workspace.at_rest
    conv(x, graph).sum().backward()
    x.grad = None
    assert graph.workspace.at_rest == kept > 0
    assert not Graph.normalized(BOTH, num_nodes=graphs.N).workspace.at_rest


def test_memory_comes_back_with_the_last_tensor_that_shares_it():
    workspace = Graph.normalized(BOTH, num_nodes=graphs.N).workspace
    a = workspace.empty((4, 2), torch.float32)
    b = workspace.empty((4, 2), torch.bfloat16)
    assert a.dtype == torch.float32 and b.dtype == torch.bfloat16 and a.shape == b.shape == (4, 2)
    part, address = a[1:], a.data_ptr()
    del a
    other = workspace.empty((4, 2), torch.float32)
    assert other.data_ptr() != address  # part is still there
    del part
    again = workspace.empty((2, 4), torch.float32)
    assert again.data_ptr() == address
    assert workspace.empty((4096,), torch.float32).data_ptr() != address


def test_a_tensor_outlives_its_graph():
    y = Graph.normalized(BOTH, num_nodes=graphs.N).workspace.empty((8,), torch.float32).fill_(3)
    gc.collect()
    assert y.sum() == 24


def test_refuses():
    graph = Graph.normalized(BOTH, num_nodes=graphs.N)
    with pytest.raises(ValueError, match=r"x must have 6 channels, got shape \[6, 3\]"):
        transform_propagate(graph, torch.randn(6, 3), torch.randn(5, 6), WINDOWS["dense"], None, None, 0.0)
    with pytest.raises(ValueError, match=r"bias must have shape \[5\], got \[4\]"):
        transform_activate(graph, torch.randn(6, 6), torch.randn(5, 6), WINDOWS["dense"], torch.ones(4), None, 0.0)
