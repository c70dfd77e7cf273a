import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg
from zoo import case

from multipath_gcn import models
from multipath_gcn.graph import Graph
from multipath_gcn.nn import MultiPathGCN, layer_costs
from multipath_gcn.prune import (
    Budget,
    Order,
    Similarity,
    by_chance,
    by_magnitude,
    by_norm_scale,
    compress,
    cost,
    find_channels,
    reestimate_norms,
)


def network():
    torch.manual_seed(0)
    return models.VGG(3, 10, 11, width=0.25)


def inputs(side=32):
    return (torch.randn(2, 3, side, side),)


@pytest.mark.parametrize("method", [by_magnitude, partial(by_magnitude, p=1, scope="layer"), by_norm_scale, by_chance])
@pytest.mark.parametrize("budget", [{"macs": 0.5}, {"parameters": 0.3}, {"macs": 0.6, "parameters": 0.6}])
def test_budgets_are_met_but_not_by_far(method, budget):
    found = compress(network(), inputs(), Budget(**budget), method)
    assert all(found.achieved[name] <= limit for name, limit in budget.items())
    assert max(found.achieved[name] / limit for name, limit in budget.items()) > 0.9
    assert found.asked == budget


def test_a_latency_budget_is_measured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3))
    found = compress(model, (torch.randn(8, 3, 32, 32),), Budget(latency=0.7), by_chance)
    assert found.after.latency < found.before.latency
    assert found.plan.count > 0


def test_widths_are_rounded():
    found = compress(network(), inputs(), Budget(macs=0.5, round_to=8), by_magnitude)
    widths = [layer.out_channels for layer in found.model.modules() if isinstance(layer, nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths)


def test_costs_are_those_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5))
    found = cost(model, torch.randn(4, 3, 8, 8))
    assert (found.parameters, found.macs) == (8 * 27 + 8 + 288 * 5 + 5, 4 * (8 * 27 * 36 + 288 * 5))


def test_costs_of_graph_layers_are_counted():
    x, edges = torch.randn(30, 7), torch.randint(30, (2, 90))
    assert cost(pyg.GCN(7, 16, 2, 3), x, edges).macs == 30 * (7 * 16 + 16 * 3)
    model = MultiPathGCN(7, 16, 3, paths=((16,),), stem=0)
    edges_with_loops = Graph.normalized(edges, num_nodes=30).col.numel()
    assert cost(model, x, edges).macs == 30 * (7 * 16 + 16 * 3) + edges_with_loops * 7


@pytest.mark.parametrize("name", ["vgg", "resnet18", "mobilenet", "separable", "sliding", "our grouped"])
def test_costs_of_networks_are_those_of_their_layers(name):
    model, (x,) = case(name).make(), case(name).inputs()
    assert cost(model, x).macs == len(x) * sum(layer.macs for layer in layer_costs(model, x))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"all": "no"}, "budget.all must be true or false, got 'no'"),
        ({"macs": 1.5}, r"budget.macs must lie between 0 and 1, got 1.5"),
        ({"parameters": 0}, r"budget.parameters must lie between 0 and 1, got 0"),
        ({"macs": 0.5, "round_to": 0}, "budget.round_to must be an integer of at least 1, got 0"),
        ({"macs": 0.5, "all": True}, r"budget.all must be false beside a limit, got \{'macs': 0.5\}"),
    ],
)
def test_budgets_are_checked(options, rule):
    with pytest.raises(ValueError, match=rule):
        Budget(**options)


def untouched(call, model, rule):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=rule):
        call()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) or tensor.isnan().any()


def test_a_budget_that_cannot_be_met_says_what_can():
    model = network()
    rule = r"budget must be one that can be met, got {'macs': 1e-06}; with all removed that can be, {'macs': 0\.\d+} are left"
    untouched(lambda: compress(model, inputs(), Budget(macs=1e-6), by_magnitude), model, rule)


def test_a_model_that_does_not_run_is_refused():
    model = network()
    rule = "model must run on inputs to be traced, got ValueError: weight must have 4 channels"
    untouched(lambda: compress(model, (torch.randn(2, 4, 32, 32),), Budget(macs=0.5), by_magnitude), model, rule)


def test_nan_is_refused():
    model = network()
    model.classifier.weight.data[0, 0] = math.nan
    rule = "model must have finite parameters and buffers, got nan or inf in 'classifier.weight'"
    untouched(lambda: compress(model, inputs(), Budget(macs=0.5), by_magnitude), model, rule)


def test_nothing_prunable_is_an_error():
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))
    rule = "model must have channels that can be removed, got none: .*native_layer_norm in '1' normalises"
    untouched(lambda: compress(model, (torch.randn(2, 4),), Budget(macs=0.5), by_magnitude), model, rule)


@pytest.mark.parametrize("make", [models.VGG, models.ResNet])
def test_the_last_convolution_of_channels_last_networks_can_be_pruned(make):
    x = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    model = make(3, 10, width=0.25).to(memory_format=torch.channels_last)
    assert all(len(group.free) == len(group) for group in find_channels(model, x).groups if group.name != "classifier")


def test_an_unknown_layer_is_an_error():
    channels = find_channels(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)), torch.randn(2, 4))
    with pytest.raises(
        ValueError, match=r"layer must be one with channels of its own, got '7'; there are \['0', '1'\]"
    ):
        channels.plan({"7": [0]})
    with pytest.raises(ValueError, match=r"filters of '0' must lie in 0..7, got 8"):
        channels.plan({"0": [8]})
    with pytest.raises(
        ValueError, match="remove must leave a channel of every layer, got all of dimension 0 of '0.weight'"
    ):
        channels.plan({"0": range(8)})


def test_scope_and_norm_are_checked():
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
    channels = find_channels(model, torch.randn(2, 4))
    with pytest.raises(ValueError, match=r"scope must be one of \['global', 'layer'\], got 'all'"):
        Order(channels, {}, "all")
    with pytest.raises(ValueError, match="p must be 1 or 2, got 3"):
        by_magnitude(model, channels, p=3)
    with pytest.raises(ValueError, match="model must have batch norms with a scale"):
        by_norm_scale(model, channels)


def test_statistics_are_those_of_the_data():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.9)).eval()
    batches = [(torch.randn(50, 4),) for _ in range(4)]
    reestimate_norms(model, batches)
    with torch.no_grad():
        h = torch.stack([model[0](x) for (x,) in batches])
    torch.testing.assert_close(model[1].running_mean, h.mean((0, 1)))
    torch.testing.assert_close(model[1].running_var, h.var(1).mean(0))
    assert not model[1].training and model[1].momentum == 0.1


def test_statistics_are_kept_where_data_fails():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    before = model[1].running_mean.clone()
    with pytest.raises(ValueError, match="batches must hold at least one batch"):
        reestimate_norms(model, [])
    with pytest.raises(RuntimeError):
        reestimate_norms(model, [(torch.randn(8, 4),), (torch.randn(8, 5),)])
    assert torch.equal(model[1].running_mean, before) and model[1].momentum == 0.1


def test_similarity_prunes_graph_networks():
    torch.manual_seed(0)
    model, x, edges = pyg.GCN(7, 32, 3, 3), torch.randn(40, 7), torch.randint(40, (2, 200))
    found = compress(model, (x, edges), Budget(parameters=0.5), Similarity)
    assert found.model(x, edges).shape == (40, 3) and found.achieved["parameters"] <= 0.5


def test_a_budget_must_ask_for_something():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    rule = r"budget must limit one of \['parameters', 'macs', 'latency'\], or be all=true, got none"
    with pytest.raises(ValueError, match=rule):
        compress(model, (torch.randn(2, 4),), Budget(), by_magnitude)
