import copy

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCN

from multipath_gcn.models import ResNet
from multipath_gcn.nn import layer_costs
from multipath_gcn.prune import Budget, by_magnitude, compress, cut, find_channels, layer_changes


def test_every_layer_has_a_line_with_what_it_has_left():
    model, x = ResNet(3, 10, depth=18, width=0.125), torch.randn(2, 3, 16, 16)
    found = compress(model, (x,), Budget(macs=0.5), by_magnitude)
    layers = layer_changes(model, found.model, x)
    assert [line["name"] for line in layers] == [cost.name for cost in layer_costs(model, x)]
    for line in layers:
        old, new = model.get_submodule(line["name"]), found.model.get_submodule(line["name"])
        assert line["channels_before"] == len(old.weight) and line["channels_after"] == len(new.weight)
        assert line["parameters_after"] == sum(parameter.numel() for parameter in new.parameters())
        assert line["kind"] == type(new).__name__
    macs = {when: sum(line[f"macs_{when}"] for line in layers) for when in ("before", "after")}
    assert 2 * macs["before"] == found.before.macs and 2 * macs["after"] == found.after.macs  # of one image of two


def test_linear_layers_of_a_graph_network_count_rows():
    model = GCN(6, 8, 2, 3)
    x, edges = torch.randn(5, 6), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    found = compress(model, (x, edges), Budget(parameters=0.6), by_magnitude)
    first, last = layer_changes(model, found.model, x, edges)
    assert (first["channels_before"], last["channels_before"], last["channels_after"]) == (8, 3, 3)
    assert first["macs_after"] == 6 * first["channels_after"] and last["macs_after"] == 3 * first["channels_after"]


def test_models_of_other_layers_are_refused():
    with pytest.raises(ValueError, match=r"after must call layers of before in their order, \['0'\], got '1'"):
        layer_changes(nn.Sequential(nn.Linear(3, 3)), nn.Sequential(nn.ReLU(), nn.Linear(3, 3)), torch.randn(2, 3))


def test_uneven_groups_and_maps_without_a_batch_are_counted():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 4, 1))
    x = torch.randn(2, 3, 6, 6)
    channels, smaller = find_channels(model, x), copy.deepcopy(model)
    cut(smaller, channels.plan({"0": [0, 1, 5]}))
    layers = layer_changes(model, smaller, x)
    assert [(line["channels_before"], line["channels_after"]) for line in layers] == [(8, 5), (8, 8), (4, 4)]
    assert layers[1]["kind"] == "UnevenGroupedConv2d"
    assert [line["channels_after"] for line in layer_changes(model, smaller, x[0])] == [5, 8, 4]
