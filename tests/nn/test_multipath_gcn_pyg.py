"""The network against the same one composed of PyG's layers: value and every gradient, dropout's own mask included."""

import sys

import graphs
import pytest
import torch
from torch_geometric.nn import GCNConv as PyGConv

from multipath_gcn.nn import MultiPathGCN, together
from multipath_gcn.ops import dropout_mask

activate = sys.modules["multipath_gcn.ops.activate"]  # whose name in the package is the function
N, P = graphs.N, 0.4
UNDIRECTED = torch.cat([graphs.SIMPLE, graphs.SIMPLE.flip(0)], dim=1).unique(dim=1)
WEIGHT = torch.linspace(0.5, 2, graphs.SIMPLE.size(1), dtype=torch.float64)
COMBINE = ("sum", "mean", "max", "concat", "attention")


def blocks(model):
    """Place -> block: ("stem", i) or (path, i)."""
    found = {("stem", i): block for i, block in enumerate(model.stem)}
    return found | {(p, i): block for p, path in enumerate(model.paths) for i, block in enumerate(path)}


def composed(model, x, edge_index, weight=None, masks=None):
    """The formula of the class, one PyG layer for each block, with the model's own parameters."""
    convs = {}
    for place, block in blocks(model).items():
        conv = convs[place] = PyGConv(block.conv.in_channels, block.conv.out_channels, aggr=block.conv.aggr).to(x.dtype)
        del conv.lin.weight, conv.bias
        conv.lin.weight, conv.bias = block.conv.lin.weight, block.conv.bias

    def layer(place, h):
        h = convs[place](h, edge_index, weight).relu()
        return h if masks is None else h * masks[place] / (1 - P)

    for i in range(len(model.stem)):
        x = layer(("stem", i), x)
    outputs = []
    for p, path in enumerate(model.paths):
        h = x
        for i in range(len(path)):
            h = layer((p, i), h)
        outputs.append(h)
    stacked = None if model.combine == "concat" else torch.stack(outputs)
    if model.combine == "concat":
        h = torch.cat(outputs, 1)
    elif model.combine == "attention":
        h = ((stacked @ model.attention.weight.t()).softmax(0) * stacked).sum(0)
    else:
        h = {"sum": stacked.sum(0), "mean": stacked.mean(0), "max": stacked.amax(0)}[model.combine]
    return h @ model.readout.weight.t() + model.readout.bias


def with_gradients(f, model, x):
    x = x.clone().requires_grad_()
    y = f(x)
    grad = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *torch.autograd.grad(y, [x, *model.parameters()], grad)]


def assert_same(found, expected, relative):
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= relative * b.norm(), float((a - b).norm() / b.norm())


def network(dtype=torch.float64, **options):
    model = MultiPathGCN(5, 8, 3, **options)
    for block in blocks(model).values():
        torch.nn.init.normal_(block.conv.bias)
    return model.to(dtype)


@pytest.fixture(params=["joined", "apart"])
def form(request, monkeypatch):
    """First layers of all paths as one transform, or sharing no more than the propagation."""
    monkeypatch.setattr(together, "LARGE", 2**60 if request.param == "joined" else 0)
    return request.param


EDGES = [(graphs.SIMPLE, None), (graphs.SIMPLE, WEIGHT), (UNDIRECTED, None)]


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("combine", COMBINE)
@pytest.mark.parametrize("edges", EDGES, ids=["directed", "weighted", "undirected"])
@pytest.mark.parametrize("paths", [None, ((8,), (8,)), ((6, 8), (8,), ())], ids=["default", "equal", "identity"])
def test_is_the_network_of_pygs_layers(paths, edges, combine, dtype, relative, form):
    edge_index, weight = edges[0], None if edges[1] is None else edges[1].to(dtype)
    model, x = network(dtype, paths=paths, combine=combine), torch.randn(N, 5, dtype=dtype)
    expected = with_gradients(lambda x: composed(model, x, edge_index, weight), model, x)
    assert_same(with_gradients(lambda x: model(x, edge_index, weight), model, x), expected, relative)


@pytest.mark.parametrize("aggr", ["mean", "max"])
@pytest.mark.parametrize("stem", [1, 2])
def test_other_aggregations_and_stems(stem, aggr, form):
    model, x = network(stem=stem, aggr=aggr), torch.randn(N, 5, dtype=torch.float64)
    expected = with_gradients(lambda x: composed(model, x, graphs.SIMPLE), model, x)
    assert_same(with_gradients(lambda x: model(x, graphs.SIMPLE), model, x), expected, 1e-10)


@pytest.mark.parametrize("combine", COMBINE)
def test_with_dropout_it_is_the_network_with_these_masks(combine, form, monkeypatch):
    seeds = []

    def drawn(device, draw=activate.draw_seed):
        seeds.append(draw(device))
        return seeds[-1]

    monkeypatch.setattr(activate, "draw_seed", drawn)
    model, x = network(combine=combine, dropout=P), torch.randn(N, 5, dtype=torch.float64)
    found = with_gradients(lambda x: model(x, graphs.SIMPLE), model, x)

    rest = [(0, 1), (0, 2), (1, 1)]  # in the order in which they run
    if form == "joined":  # the first layers are 8 and 4 columns of one
        stem, first, *others = seeds
        both = dropout_mask((N, 12), P, first)
        masks = {(0, 0): both[:, :8], (1, 0): both[:, 8:]}
    else:
        stem, first, second, *others = seeds
        masks = {(0, 0): dropout_mask((N, 8), P, first), (1, 0): dropout_mask((N, 4), P, second)}
    masks |= {("stem", 0): dropout_mask((N, 8), P, stem)}
    masks |= {place: dropout_mask((N, 8), P, seed) for place, seed in zip(rest, others, strict=True)}
    expected = with_gradients(lambda x: composed(model, x, graphs.SIMPLE, masks=masks), model, x)
    assert_same(found, expected, 1e-10)
    assert not torch.allclose(model.eval()(x, graphs.SIMPLE), found[0])
    torch.testing.assert_close(model(x, graphs.SIMPLE), composed(model, x, graphs.SIMPLE))
    assert len(seeds) == (5 if form == "joined" else 6)  # evaluation draws none
