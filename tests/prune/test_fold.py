import copy

import pytest
import torch
from torch import nn

from multipath_gcn.nn import SlidingChannelConv2d
from multipath_gcn.prune import by_norm_scale, cut, find_channels
from multipath_gcn.prune.fold import fold_constants


def network(reader, last):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), reader, *last).eval()
    norm = model[1]
    nn.init.uniform_(norm.weight, 0.5, 1.5), nn.init.normal_(norm.bias)
    with torch.no_grad():
        norm.weight[[1, 4, 6]] = 0
        norm.bias[[1, 4, 6]] = torch.tensor([0.7, -1.0, 1.3])  # the second is 0 after ReLU
    return model


READERS = {
    "convolution": lambda: (nn.Conv2d(8, 5, 3), []),
    "without bias": lambda: (nn.Conv2d(8, 5, 3, bias=False), []),
    "norm after": lambda: (nn.Conv2d(8, 5, 3, bias=False), [nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1)]),
    "grouped": lambda: (nn.Conv2d(8, 6, 3, groups=2), []),
    "windows": lambda: (SlidingChannelConv2d(8, 6, 2, 0.5), []),
    "linear": lambda: (nn.Flatten(), [nn.Linear(8 * 49, 5)]),
}


@pytest.mark.parametrize("kind", READERS)
def test_removing_constant_channels_changes_nothing(kind):
    model, x = network(*READERS[kind]()), torch.randn(2, 3, 9, 9)
    wanted = model(x)
    channels = find_channels(model, x)
    plan = channels.plan({"0": [1, 4, 6]})
    smaller = copy.deepcopy(model)
    assert fold_constants(smaller, channels, plan) == 2
    cut(smaller, plan)
    torch.testing.assert_close(smaller(x), wanted, rtol=1e-5, atol=1e-5)
    left_out = copy.deepcopy(model)
    cut(left_out, plan)
    assert (left_out(x) - wanted).abs().max() > 1e-2


def test_scores_fold_them_too():
    model, x = network(*READERS["convolution"]()), torch.randn(2, 3, 9, 9)
    wanted = model(x)
    smaller, plan = by_norm_scale(model, find_channels(model, x)).finish(model, 3)
    assert plan.removed == {"0": [1, 4, 6]}
    cut(smaller, plan)
    torch.testing.assert_close(smaller(x), wanted, rtol=1e-5, atol=1e-5)


def test_channels_that_vary_are_left_alone():
    model, x = network(*READERS["convolution"]()), torch.randn(2, 3, 9, 9)
    channels = find_channels(model, x)
    before = copy.deepcopy(model.state_dict())
    assert fold_constants(model, channels, channels.plan({"0": [0, 2]})) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
