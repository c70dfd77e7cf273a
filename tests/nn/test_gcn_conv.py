import graphs
import pytest
import torch
from torch_geometric.nn import GCNConv as PyGConv

from multipath_gcn.graph import Graph
from multipath_gcn.nn import GCNConv

GRAPH = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N, dtype=torch.float64)
TRANSFORMS = {
    "dense": {},
    "grouped": dict(transform="grouped", groups=3),
    "sliding": dict(transform="sliding", groups=2, overlap="1/3"),
}


@pytest.mark.parametrize(("width_in", "width_out"), [(4, 9), (9, 4)])
@pytest.mark.parametrize("aggr", ["add", "mean", "max"])
@pytest.mark.parametrize("form", graphs.forms(graphs.SIMPLE))
def test_is_pygs_layer_on_simple_graphs(form, aggr, width_in, width_out):
    theirs, ours = PyGConv(width_in, width_out, aggr=aggr), GCNConv(width_in, width_out, aggr=aggr)
    torch.nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(graphs.N, width_in)
    adjacency, weight = graphs.forms(graphs.SIMPLE)[form]
    torch.testing.assert_close(ours(x, adjacency, weight), theirs(x, graphs.SIMPLE), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("form", graphs.forms(graphs.MULTI))
def test_every_form_gives_the_same_on_loops_and_parallel_edges(form):
    conv, x = GCNConv(4, 3), torch.randn(graphs.N, 4)
    weight = torch.rand(graphs.MULTI.size(1))
    expected = (graphs.dense(graphs.MULTI, weight) @ conv.lin(x).double()).float()
    torch.testing.assert_close(conv(x, *graphs.forms(graphs.MULTI, weight)[form]), expected, rtol=1e-6, atol=1e-6)


def test_follows_pygs_conventions():
    conv = GCNConv(-1, 7)
    assert str(conv) == "GCNConv(-1, 7)"
    assert conv(torch.randn(graphs.N, 5), graphs.SIMPLE).shape == (graphs.N, 7)
    assert conv.lin.weight.shape == (7, 5)
    assert GCNConv(3, 2, bias=False).bias is None
    batch = torch.randn(2, graphs.N, 5)
    torch.testing.assert_close(conv(batch, graphs.SIMPLE)[1], conv(batch[1], graphs.SIMPLE))
    before = conv.lin.weight.clone()
    conv.reset_parameters()
    assert not torch.equal(before, conv.lin.weight)


def test_refuses():
    with pytest.raises(ValueError, match="aggr must be one of .*, got 'median'"):
        GCNConv(3, 2, aggr="median")
    with pytest.raises(ValueError, match="x must be one tensor of node features, got a tuple of 2"):
        GCNConv(3, 2)((torch.randn(6, 3), torch.randn(6, 3)), graphs.SIMPLE)


def dense_twin(conv):
    """The dense layer that computes the same: zeros where a filter does not read."""
    twin = GCNConv(conv.in_channels, conv.out_channels, aggr=conv.aggr).to(conv.bias.dtype)
    windows = conv.lin.windows
    reads = (torch.as_tensor(windows.start.copy())[:, None] + torch.arange(windows.width)) % windows.in_channels
    weight = torch.zeros_like(twin.lin.weight).scatter(1, reads, conv.lin.weight.detach())
    twin.load_state_dict({"lin.weight": weight, "bias": conv.bias.detach()})
    return twin


@pytest.mark.parametrize(("width_in", "width_out"), [(6, 9), (12, 3), (6, 6)])
@pytest.mark.parametrize("aggr", ["add", "mean", "max"])
@pytest.mark.parametrize("transform", ["grouped", "sliding"])
def test_a_channel_transform_is_a_dense_one_with_zeros(transform, aggr, width_in, width_out):
    conv = GCNConv(width_in, width_out, aggr=aggr, **TRANSFORMS[transform]).double()
    torch.nn.init.normal_(conv.bias)
    twin = dense_twin(conv)
    x = torch.randn(2, graphs.N, width_in, dtype=torch.float64)
    torch.testing.assert_close(conv(x, GRAPH), twin(x, GRAPH))
    sparse = torch.nn.functional.dropout(x[0], 0.5).to_sparse_csr()
    torch.testing.assert_close(conv(sparse, GRAPH), twin(sparse, GRAPH))


@pytest.mark.parametrize(("transform", "width"), [("dense", 12), ("grouped", 4), ("sliding", 6)])
def test_every_transform_starts_in_glorots_range(transform, width):
    weight = GCNConv(12, 24, **TRANSFORMS[transform]).lin.weight
    assert weight.shape == (24, width)
    bound = (6 / (width + 24 * width / 12)) ** 0.5  # inputs of a filter, filters of an input
    assert 0.9 * bound < weight.abs().max() <= bound


def test_a_layer_tells_its_transform():
    assert str(GCNConv(4, 6, transform="grouped")) == ("GCNConv(4, 6, lin=GroupedLinear(4, 6, groups=2, bias=False))")
    assert str(GCNConv(4, 3, transform="sliding")) == (
        "GCNConv(4, 3, lin=SlidingChannelLinear(4, 3, groups=2, overlap=0.5, bias=False))"
    )
    assert list(GCNConv(4, 3, transform="sliding").state_dict()) == list(GCNConv(4, 3).state_dict())
