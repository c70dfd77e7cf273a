import graphs
import pytest
import torch

from multipath_gcn.graph import Graph
from multipath_gcn.nn import GCNConv, convolve
from multipath_gcn.nn.gcn_block import GCNBlock
from multipath_gcn.nn.together import Together
from multipath_gcn.ops.features import read

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

    for name in ("channel_transform", "propagate"):
        monkeypatch.setattr(convolve, name, counted(name, getattr(convolve, name)))
    return found


@pytest.mark.parametrize("aggr", ["add", "mean", "max"])
@pytest.mark.parametrize("widths", [(6, 3, 9), (3, 3)])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_layers_of_one_input_run_as_one(transform, widths, aggr, calls):
    blocks = [GCNBlock(6, width, aggr=aggr, **TRANSFORMS[transform]).double() for width in widths]
    for block in blocks:
        torch.nn.init.normal_(block.conv.bias)
    x = torch.randn(2, graphs.N, 6, dtype=torch.float64, requires_grad=True)
    inputs = [x, *(parameter for block in blocks for parameter in block.parameters())]
    expected = [block.conv(x, GRAPH).relu() for block in blocks]
    grads = [torch.randn_like(y) for y in expected]
    theirs = torch.autograd.grad(expected, inputs, grads)

    calls.clear()
    found = Together()(blocks, x, GRAPH)
    assert sorted(calls) == ["channel_transform", "propagate"]
    torch.testing.assert_close(list(found), expected)
    torch.testing.assert_close(torch.autograd.grad(found, inputs, grads), theirs)


def test_layers_that_must_be_called_are_not_run_as_one():
    def block(**options):
        return GCNBlock(6, 6, **TRANSFORMS["sliding"] | options)

    blocks = [block() for _ in range(2)]
    x = torch.randn(graphs.N, 6)
    assert Together()(blocks, x, GRAPH) is not None
    assert Together()(blocks[:1], x, GRAPH) is None
    assert Together()([], x, GRAPH) is None
    assert Together()(blocks, read(x.to_sparse_csr()), GRAPH) is None
    derived, without_bias = block(), block()
    derived.conv = type("Derived", (GCNConv,), {})(6, 6, **TRANSFORMS["sliding"])
    without_bias.conv = GCNConv(6, 6, bias=False, **TRANSFORMS["sliding"])
    others = GCNBlock(6, 6), block(overlap=None, transform="grouped", groups=3), block(aggr="max"), block(act="elu")
    for other in (*others, block(dropout=0.5), block(norm="layer"), derived, without_bias):
        assert Together()([blocks[0], other], x, GRAPH) is None
    assert Together()([GCNBlock(-1, 6), GCNBlock(-1, 6)], x, GRAPH) is None
    for hooked in (blocks[0], blocks[0].act, blocks[0].conv, blocks[1].conv.lin):
        handle = hooked.register_forward_hook(lambda *_: None)
        assert Together()(blocks, x, GRAPH) is None
        handle.remove()
    assert Together()(blocks, x, GRAPH) is not None
