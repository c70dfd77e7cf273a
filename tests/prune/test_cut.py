import copy

import pytest
import torch
from torch import nn
from zoo import case

from multipath_gcn.nn import GroupedConv2d
from multipath_gcn.nn.uneven_conv import UnevenGroupedConv2d
from multipath_gcn.prune import Plan, cut, find_channels


def chain(**options):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 8, 3, groups=4, **options), nn.Conv2d(8, 4, 1)).eval()


def test_groups_that_lose_as_much_stay_one_grouped_convolution():
    model, x = chain(), torch.randn(2, 3, 5, 5)
    cut(model, find_channels(model, x).plan({"1": [1, 3, 5, 7], "0": [0, 3, 6, 9]}))
    assert (model[1].in_channels, model[1].out_channels, model[1].groups) == (8, 4, 4)
    assert type(model[1]) is nn.Conv2d


def test_uneven_groups_are_convolutions_side_by_side():
    model, x = chain(), torch.randn(2, 3, 5, 5)
    cut(model, find_channels(model, x).plan({"1": [1], "0": [0, 4, 5, 11]}))
    assert type(model[1]) is UnevenGroupedConv2d
    assert str(model[1]).startswith("UnevenGroupedConv2d(2 -> 1, 1 -> 2, 3 -> 2, 2 -> 2")
    model(x).sum().backward()


def test_a_group_without_inputs_gives_constants():
    model, x = chain(), torch.randn(2, 3, 5, 5)
    bias = model[1].bias[:2].detach().clone()
    cut(model, find_channels(model, x).plan({"0": [0, 1, 2]}))
    torch.testing.assert_close(model[1](model[0](x))[:, :2], bias[None, :, None, None].expand(2, 2, 3, 3))


def test_uneven_groups_with_hooks_are_refused_and_nothing_is_changed():
    model, x = chain(), torch.randn(2, 3, 5, 5)
    plan = find_channels(model, x).plan({"1": [1], "0": [0]})
    model[1].register_forward_hook(lambda *_: None)
    before = copy.deepcopy(model.state_dict())
    widths = [(layer.in_channels, layer.out_channels) for layer in model]
    with pytest.raises(ValueError, match="1 must be a plain Conv2d without hooks to lose unequal parts"):
        cut(model, plan)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert widths == [(layer.in_channels, layer.out_channels) for layer in model]


def test_a_plan_of_another_model_is_refused():
    model = chain()
    with pytest.raises(ValueError, match="plan must be of this model, which has no 'other.weight'"):
        cut(model, Plan({}, {"other.weight": {0: [1]}}))
    with pytest.raises(ValueError, match=r"plan must be of this model, whose '0.weight' is \[12, 3, 1, 1\]"):
        cut(model, Plan({}, {"0.weight": {0: [20]}}))


def test_windows_keep_their_starts_and_narrow_ones_get_zeros():
    found = case("grouped linear")
    torch.manual_seed(0)
    model, (x,) = found.make(), found.inputs()
    grouped = model[1]
    weight, start = grouped.weight.detach().clone(), grouped.windows.start.copy()
    cut(model, find_channels(model, x).plan({"0": [0, 4]}))
    assert grouped.windows.in_channels == 10 and grouped.windows.width == 3
    dense = torch.zeros(8, 12)
    for o in range(8):
        dense[o, start[o] : start[o] + 3] = weight[o]
    staying = [i for i in range(12) if i not in (0, 4)]
    now = torch.zeros(8, 10)
    for o in range(8):
        for k in range(3):
            now[o, (grouped.windows.start[o] + k) % 10] += grouped.weight[o, k].detach()
    assert torch.equal(now, dense[:, staying])


def test_shared_parameters_stay_shared():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    model[2].weight = model[1].weight
    cut(model, find_channels(model, torch.randn(3, 4)).plan({"0": [1]}))
    assert model[1].weight is model[2].weight and model[1].weight.shape == (5, 5)


def test_our_grouped_convolution_keeps_its_class():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), GroupedConv2d(8, 8, 3, groups=4), nn.Conv2d(8, 2, 1))
    cut(model, find_channels(model, torch.randn(1, 3, 6, 6)).plan({"0": [0, 2, 4, 6]}))
    assert type(model[1]) is GroupedConv2d and model[1].weight.shape == (8, 1, 3, 3)
