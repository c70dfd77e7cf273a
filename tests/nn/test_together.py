import graphs
import pytest
import torch

import multipath_gcn.nn.gcn_conv
import multipath_gcn.nn.together as module
from multipath_gcn.graph import Graph
from multipath_gcn.nn import GCNConv
from multipath_gcn.nn.together import Together

GRAPH = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N, dtype=torch.float64)
TRANSFORMS = {
    "dense": {},
    "grouped": dict(transform="grouped", groups=3),
    "sliding": dict(transform="sliding", groups=2, overlap="1/3"),
}


@pytest.fixture
def calls(monkeypatch):
    """Names of the transforms and propagations that ran."""
    found = []

    def counted(name, call):
        return lambda *args, **options: found.append(name) or call(*args, **options)

    for where, name in ((module, "channel_transform"), (module.F, "linear"), (multipath_gcn.nn.gcn_conv, "propagate")):
        monkeypatch.setattr(where, name, counted(name, getattr(where, name)))
    return found


@pytest.mark.parametrize("aggr", ["add", "mean", "max"])
@pytest.mark.parametrize("widths", [(6, 3, 9), (3, 3)])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_layers_of_one_input_run_as_one(transform, widths, aggr, calls):
    convs = [GCNConv(6, width, aggr=aggr, **TRANSFORMS[transform]).double() for width in widths]
    for conv in convs:
        torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, graphs.N, 6, dtype=torch.float64, requires_grad=True)
    inputs = [x, *(parameter for conv in convs for parameter in conv.parameters())]
    expected = [conv(x, GRAPH) for conv in convs]
    grads = [torch.randn_like(y) for y in expected]
    theirs = torch.autograd.grad(expected, inputs, grads)

    calls.clear()
    found = Together()(convs, x, GRAPH)
    used = "linear" if transform == "dense" else "channel_transform"
    assert sorted(calls) == sorted([used, "propagate"])
    torch.testing.assert_close(list(found), expected)
    torch.testing.assert_close(torch.autograd.grad(found, inputs, grads), theirs)


def test_layers_that_must_be_called_are_not_run_as_one():
    convs = [GCNConv(6, 6, **TRANSFORMS["sliding"]) for _ in range(2)]
    x = torch.randn(graphs.N, 6)
    assert Together()(convs, x, GRAPH) is not None
    assert Together()(convs[:1], x, GRAPH) is None
    assert Together()([], x, GRAPH) is None
    assert Together()(convs, x.to_sparse_csr(), GRAPH) is None
    for other in (
        GCNConv(6, 6),
        GCNConv(6, 6, transform="grouped", groups=3),
        GCNConv(6, 6, aggr="max", **TRANSFORMS["sliding"]),
        GCNConv(6, 6, bias=False, **TRANSFORMS["sliding"]),
        type("Derived", (GCNConv,), {})(6, 6, **TRANSFORMS["sliding"]),
    ):
        assert Together()([convs[0], other], x, GRAPH) is None
    lazy = [GCNConv(-1, 6), GCNConv(-1, 6)]
    assert Together()(lazy, x, GRAPH) is None
    for hooked in (convs[0], convs[1].lin):
        handle = hooked.register_forward_hook(lambda *_: None)
        assert Together()(convs, x, GRAPH) is None
        handle.remove()
    assert Together()(convs, x, GRAPH) is not None
