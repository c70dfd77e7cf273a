import graphs
import pytest
import torch
from torch_geometric.nn import GCN as PyGStack

from multipath_gcn.graph import Graph
from multipath_gcn.models import GCN, ResGCN, count_parameters

X = torch.randn(graphs.N, 5)


def test_kipfs_network_is_pygs():
    theirs, ours = PyGStack(5, 8, num_layers=2, out_channels=3), GCN(5, 8, 3, num_layers=1, readout="gcn")
    ours.stem[0].conv.load_state_dict(theirs.convs[0].state_dict())
    ours.readout.load_state_dict(theirs.convs[1].state_dict())
    torch.testing.assert_close(ours(X, graphs.SIMPLE), theirs(X, graphs.SIMPLE), rtol=1e-6, atol=1e-6)


def test_parameter_counts_of_the_papers_baselines():
    assert count_parameters(GCN(168, 256, 40, num_layers=6)) == 382_504
    assert count_parameters(GCN(8, 256, 112, num_layers=7)) == 425_840
    assert count_parameters(GCN(1433, 128, 7, num_layers=3)) == count_parameters(ResGCN(1433, 128, 7)) == 217_479


def test_residual_skips_the_layers_named():
    plain, skip = GCN(5, 4, 3), ResGCN(5, 4, 3, skips=[2])
    skip.load_state_dict(plain.state_dict())
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N)
    h1 = plain.stem[0](X, graph)
    h2 = h1 + plain.stem[1](h1, graph)
    torch.testing.assert_close(skip(X, graph), plain.readout(plain.stem[2](h2, graph)))
    assert [block.residual for block in ResGCN(5, 4, 3).stem] == [True] * 3


@pytest.mark.parametrize("network", [GCN, ResGCN])
def test_layers_may_be_grouped_or_sliding(network):
    model = network(6, 8, 3, stem_transform="sliding", groups=2, overlap=0.25)
    assert [tuple(block.conv.lin.weight.shape) for block in model.stem] == [(8, 3), (8, 4), (8, 4)]
    assert model(torch.randn(graphs.N, 6), graphs.SIMPLE).shape == (graphs.N, 3)
    with pytest.raises(ValueError, match=r"no path has a layer \(see stem_transform\), got 'sliding'"):
        network(6, 8, 3, transform="sliding")


def test_refuses_a_layer_that_is_not_there():
    with pytest.raises(ValueError, match=r"skips must name layers in 1 ... 3, got \[4\]"):
        ResGCN(5, 4, 3, skips=[4])


@pytest.mark.parametrize("num_layers", [0, -1, 1.5])
def test_refuses_a_number_of_layers_below_one(num_layers):
    with pytest.raises(ValueError, match=f"num_layers must be an integer of at least 1, got {num_layers}"):
        GCN(5, 4, 3, num_layers=num_layers)
