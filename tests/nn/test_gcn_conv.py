import graphs
import pytest
import torch
from torch_geometric.nn import GCNConv as PyGConv

from multipath_gcn.nn import GCNConv


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
