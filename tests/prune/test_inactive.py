"""What training has switched off goes, exactly."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from multipath_gcn.models import VGG, ResNet
from multipath_gcn.nn import ConvBlock, MultiPathGCN
from multipath_gcn.prune import Budget, by_inactivity, compress, find_channels, inactive_scales, nonzeros, selectivity
from multipath_gcn.prune.inactive import largest_scales
from multipath_gcn.prune.peaks import peaks

SMALL = {"stages": ((16, 16), (24, 24))}


def switched_off(count=5, shift=0.0):
    """A VGG in evaluation mode in which ``count`` channels of every convolution have a scale of nothing."""
    torch.manual_seed(0)
    model = VGG(3, 10, **SMALL).eval()
    with torch.no_grad():
        for block in model.modules():
            if isinstance(block, ConvBlock):
                nn.init.normal_(block.norm.weight, 1.0, 0.1)
                nn.init.normal_(block.norm.bias, 0.0, 0.3)
                block.norm.weight[:count] = 1e-9
                block.norm.bias[:count] = shift
    return model


def compressed(model, method=by_inactivity, **options):
    x = torch.randn(4, 3, 16, 16)
    found = compress(model, (x,), Budget(all=True), lambda *a, **k: method(*a, **k, **options), [(x,)], False)
    return found, (found.model(x) - model(x)).abs().max().item()


def test_all_that_is_inactive_goes_and_nothing_else():
    model = switched_off()
    assert inactive_scales(model) == 20
    found, difference = compressed(model)
    widths = [block.convolution.out_channels for block in found.model.modules() if isinstance(block, ConvBlock)]
    assert widths == [11, 11, 19, 19] and inactive_scales(found.model) == 0
    assert difference < 1e-5 and found.asked == {"all": True} and set(found.achieved) == {"parameters", "macs"}


def test_the_constant_that_is_left_is_folded():
    """Inside the image: at its border a padded convolution reads fewer of them."""
    model, x = switched_off(shift=0.2), torch.randn(2, 3, 16, 16)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.padding = (0, 0)
    found = compress(model, (x,), Budget(all=True), by_inactivity)
    assert found.plan.count == 20
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_budget_takes_the_least_active_first():
    model = switched_off()
    x = torch.randn(1, 3, 16, 16)
    found = compress(model, (x,), Budget(macs=0.95), by_inactivity)
    assert 0 < found.plan.count < 20 and found.achieved["macs"] <= 0.95
    with pytest.raises(ValueError, match="budget must be one that can be met"):
        compress(model, (x,), Budget(macs=0.1), by_inactivity)


def test_silence_on_data_is_seen_where_scales_are_not():
    model, x = switched_off(0), torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        for block in (0, 1, 3, 4):
            model.features[block].norm.bias.fill_(3.0)  # none is silent by chance
        model.features[1].norm.bias[[2, 7]] = -100.0
    channels = find_channels(model, x)
    name = next(group.name for group in channels.groups if "features.1" in group.name)
    silent = peaks(model, channels, [(x,)])[name] == 0
    assert silent.nonzero()[0].tolist() == [2, 7]
    found, difference = compressed(model, test="activation")
    assert found.plan.removed == {name: [2, 7]} and difference < 1e-6
    with pytest.raises(ValueError, match="channels with a scale below 0.001 to remove, the least is"):
        compressed(model)


def test_peaks_are_the_largest_activations():
    model, batches = switched_off(0), [(torch.randn(4, 3, 16, 16),) for _ in range(2)]
    channels = find_channels(model, *batches[0])
    found = peaks(model, channels, batches)
    with torch.no_grad():
        maps = torch.cat([model.features[:2](*batch) for batch in batches])
        last = torch.cat([model.features(*batch).mean((2, 3)) for batch in batches])
    first, *_, final = found.values()
    torch.testing.assert_close(torch.from_numpy(final).float(), last.abs().amax(0))
    assert len(found) == 4 and len(first) == 16
    second = list(found.values())[1]
    torch.testing.assert_close(torch.from_numpy(second).float(), maps.amax((0, 2, 3)))


def test_a_residual_sum_is_inactive_where_all_its_layers_are():
    model = ResNet(3, 10, width=0.25, blocks=(1, 1))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight[:3] = 0
        model.features[0].norm.weight[2] = 1.0
    channels = find_channels(model, torch.randn(1, 3, 16, 16))
    scales = largest_scales(model, channels)
    trunk = next(group for group in channels.groups if "features.0.convolution" in group.layers)
    assert len(trunk.layers) == 2 and (scales[trunk.name] == 0).nonzero()[0].tolist() == [0, 1]


def test_one_channel_of_every_layer_stays():
    model = switched_off(24)
    found, _ = compressed(model)
    assert [b.convolution.out_channels for b in found.model.modules() if isinstance(b, ConvBlock)] == [1, 1, 1, 1]


def test_selectivity_by_hand():
    a = torch.zeros(4, 4, 2, 2)
    a[:, 0] = 1.0  # always there
    a[2, 1, 0, 1] = 5.0  # once
    a[:, 2, 1, 1] = torch.tensor([10.0, 0.009, 0.011, 0.0])  # below a thousandth of the largest in two of four
    assert selectivity(a).tolist() == [0.0, 0.75, 0.5, 1.0]
    assert selectivity(a.flatten(2).amax(2)).tolist() == [0.0, 0.75, 0.5, 1.0]


def test_nonzeros_are_counted():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0] = 0
        model.bias[:] = 1
    assert nonzeros(model) == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"test": "norm"}, r"test must be one of \['scale', 'activation', 'read'\], got 'norm'"),
        ({"threshold": float("nan")}, "threshold must be greater than 0, got nan"),
        ({"threshold": -1.0}, "threshold must be greater than 0, got -1.0"),
    ],
)
def test_wrong_options_are_refused(options, told):
    model = switched_off()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=told):
        compressed(model, **options)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_model_without_norms_and_a_test_without_data_are_refused():
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(3, 4)
    with pytest.raises(ValueError, match="must have filters that batch norms with a scale follow"):
        compress(model, (x,), Budget(all=True), by_inactivity)
    with pytest.raises(ValueError, match="batches must hold data for test='activation', got none"):
        by_inactivity(model, find_channels(model, x), test="activation")
    with pytest.raises(ValueError, match="threshold must be greater than 0, got 0"):
        inactive_scales(model, 0)


def test_channels_that_nothing_reads_are_inactive():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[2].weight[:, [1, 4]] = 0
    x = torch.randn(7, 4)
    found = compress(model, (x,), Budget(all=True), partial(by_inactivity, test="read"))
    assert found.plan.removed == {"0": [1, 4]}
    torch.testing.assert_close(found.model(x), model(x))


def test_a_channel_is_read_as_long_as_one_of_several_paths_reads_it():
    torch.manual_seed(0)
    model = MultiPathGCN(5, 8, 3, paths=((8,), (8,), ()), combine="sum").eval()
    x, edges = torch.randn(20, 5), torch.randint(0, 20, (2, 60))
    with torch.no_grad():
        model.paths[0][0].conv.lin.weight[:, [2, 3]] = 0
        model.paths[1][0].conv.lin.weight[:, [3, 4]] = 0
    by_read = partial(by_inactivity, test="read")
    with pytest.raises(ValueError, match="model must have channels with a read below"):
        compress(model, (x, edges), Budget(all=True), by_read)  # the identity path reads all
    model = MultiPathGCN(5, 8, 3, paths=((8,), (8,)), combine="sum").eval()
    with torch.no_grad():
        model.paths[0][0].conv.lin.weight[:, [2, 3]] = 0
        model.paths[1][0].conv.lin.weight[:, [3, 4]] = 0
    found = compress(model, (x, edges), Budget(all=True), by_read)
    assert found.plan.removed == {"stem.0.conv.lin": [3]}
    torch.testing.assert_close(found.model(x, edges), model(x, edges))
