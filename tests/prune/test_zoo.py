"""No network may be pruned wrongly, or not at all without a word: what goes is exact, what stays is held by name."""

import copy

import numpy as np
import pytest
import torch
from zoo import ZOO, case

from multipath_gcn.prune import CannotPrune, cut, find_channels, verify


def some(channels, part, seed):
    generator = np.random.default_rng(seed)
    found = {}
    for group in channels.groups:
        free = group.free
        if len(free) > 1:
            found[group.name] = generator.choice(free, max(1, int(part * len(free))), replace=False).tolist()
    return {name: units[: len(channels.group(name)) - 1] for name, units in found.items()}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", ZOO, ids=repr)
def test_exact_or_held_by_name(case, seed):
    torch.manual_seed(seed)
    model, inputs = case.make(), case.inputs()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    channels = find_channels(model, *inputs)
    reasons = [reason for reason in channels.reasons_held() if "output of the model" not in reason]
    removable = any(len(group.free) > 1 for group in channels.groups)
    assert removable == case.free
    assert case.free or reasons or case.name in ("gru", "weight norm")
    assert case.held_by is None or any(case.held_by in reason for reason in reasons)
    if removable:
        plan = channels.plan_units(some(channels, 0.4, seed))
        assert plan.count > 0
        assert verify(model, plan, *inputs).difference < 1e-5
        smaller = copy.deepcopy(model)
        cut(smaller, plan)
        assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_pruned_network_is_the_one_with_the_channel_left_out_by_hand():
    torch.manual_seed(0)
    first, norm, last = torch.nn.Conv2d(3, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.Conv2d(6, 4, 3)
    torch.nn.init.normal_(norm.bias)
    model = torch.nn.Sequential(first, norm, torch.nn.ReLU(), last).eval()
    x = torch.randn(2, 3, 9, 9)
    stays = [0, 2, 3, 5]
    h = torch.nn.functional.conv2d(x, first.weight[stays], first.bias[stays])
    h = torch.nn.functional.batch_norm(
        h, norm.running_mean[stays], norm.running_var[stays], norm.weight[stays], norm.bias[stays]
    )
    wanted = torch.nn.functional.conv2d(h.relu(), last.weight[:, stays], last.bias)
    cut(model, find_channels(model, x).plan({"0": [1, 4]}))
    torch.testing.assert_close(model(x), wanted)


def test_a_held_channel_is_refused_by_the_name_of_its_operator():
    found = case("group norm")
    channels = find_channels(found.make(), *found.inputs())
    with pytest.raises(CannotPrune, match="channel 0 of 'l.0' cannot be removed: .*native_group_norm in 'l.1'"):
        channels.plan({"l.0": [0]})


def test_verify_names_the_operator_that_a_wrong_plan_would_break():
    found = case("split by equal sizes")
    torch.manual_seed(0)
    model, inputs = found.make(), found.inputs()
    from multipath_gcn.prune.channels import Channels
    from multipath_gcn.prune.trace import Trace

    trace = Trace(model)
    trace.run(model, inputs)  # without trying out: it takes the sizes for those of a chunk
    plan = Channels(trace).plan({"l.0": [0, 8]})
    with pytest.raises(CannotPrune, match=r"aten::split_with_sizes in the model cannot do without"):
        verify(model, plan, *inputs)
