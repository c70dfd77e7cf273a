"""Self-grouping of whole networks: the schedule, its masks, and the real groups at the end."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.models import VGG, ResNet
from multipath_gcn.nn import MultiPathGCN, UnevenGroupedConv2d, UnevenGroupedLinear
from multipath_gcn.prune import SelfGrouping, find_channels, load_pruned, repack, save_pruned
from multipath_gcn.prune.masks import fold_masks, mask_of, mask_weights
from multipath_gcn.prune.self_grouping import grouping
from multipath_gcn.prune.self_grouping_stages import kernel_sparsity
from multipath_gcn.prune.signals import signals


class Training:
    """Some steps on random images; notes what the masks were."""

    def __init__(self, *inputs):
        self.inputs, self.stages, self.masks = inputs, [], []

    def __call__(self, model, stage, epochs, penalty=None, keep="best"):
        self.stages.append((stage, epochs))
        masks = {name: mask_of(layer) for name, layer in model.named_modules()}
        self.masks.append({name: mask.clone() for name, mask in masks.items() if mask is not None})
        optimizer = torch.optim.SGD(model.parameters(), 0.05, weight_decay=0.1)
        for _ in range(2):
            y = model.train()(*self.inputs)
            loss = F.cross_entropy(y, torch.arange(len(y)) % y.size(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def images():
    torch.manual_seed(0)
    return torch.randn(4, 3, 16, 16)


def networks():
    torch.manual_seed(0)
    return {
        "vgg": VGG(3, 10, stages=((8, 8), (16, 16))),
        "resnet": ResNet(3, 10, blocks=(1, 1), width=0.125),
    }


@pytest.mark.parametrize("name", networks())
def test_masks_only_grow_and_groups_are_what_was_trained(name):
    model, x = networks()[name].eval(), images()
    before = copy.deepcopy(model.state_dict())
    training = Training(x)
    method = SelfGrouping(0.75, 0.25, groups=4, epochs=3)
    found = method.compress(model, (x,), training)
    assert training.stages == [("sparsity25", 3), ("sparsity50", 3), ("sparsity75", 3)]
    for first, second in zip(training.masks, training.masks[1:], strict=False):
        assert first.keys() == second.keys() == set(method.layers(model, x))
        assert all((second[layer] <= first[layer]).all() for layer in first)
        assert any((second[layer] < first[layer]).any() for layer in first)
    assert found.difference < 1e-5
    assert found.asked == {"sparsity": 0.75, "groups": 4} and 0.75 <= found.achieved["sparsity"] < 0.85
    assert any(isinstance(layer, UnevenGroupedConv2d) for layer in found.model.modules())
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_global_fine_tuning_leaves_the_last_level_to_the_run():
    training = Training(images())
    SelfGrouping(0.6, 0.4, groups=4, fine_tuning="global").compress(networks()["vgg"], (images(),), training)
    assert training.stages == [("sparsity40", 1)]


def test_what_comes_out_is_saved_and_loaded(tmp_path):
    model, x = networks()["resnet"].eval(), images()
    found = SelfGrouping(0.5, 0.5, groups=4).compress(model, (x,), Training(x))
    save_pruned(tmp_path, found.model, found.plans)
    loaded = load_pruned(tmp_path, networks()["resnet"]).eval()
    torch.testing.assert_close(loaded(x), found.model.eval()(x))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("combine", ["sum", "concat"])
def test_feature_transforms_of_a_multipath_network(combine, residual):
    torch.manual_seed(0)
    model = MultiPathGCN(12, 16, 3, paths=((16, 16), (16,)), combine=combine, residual=residual).eval()
    x, edges = torch.randn(30, 12), torch.randint(0, 30, (2, 90))
    method = SelfGrouping(0.6, 0.6, groups=4)
    assert method.layers(model, x, edges) == ["paths.0.0.conv.lin", "paths.0.1.conv.lin", "paths.1.0.conv.lin"]
    training = Training(x, edges)
    found = method.compress(model, (x, edges), training)
    assert found.difference < 1e-5
    assert sum(isinstance(layer, UnevenGroupedLinear) for layer in found.model.modules()) == 3
    assert sum(p.numel() for p in found.model.parameters()) < sum(p.numel() for p in model.parameters())
    Training(x, edges)(found.model, "global", 1)  # it trains
    torch.testing.assert_close(found.model.eval().inference(edges, x), found.model(x, edges))


def test_linear_layers_have_a_limit_of_their_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(5, 6)
    found = SelfGrouping(0.9, 0.3, groups=2, linear_sparsity=0.5).compress(model, (x,), Training(x))
    assert 0.5 <= found.achieved["sparsity"] < 0.7
    with pytest.raises(ValueError, match="model must have layers that can be grouped between its first and last"):
        SelfGrouping(linear_sparsity=0).layers(model, x)


def test_biases_of_uneven_groups_are_known_when_it_is_pruned_again():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.Linear(6, 3)).eval()
    mask = torch.zeros(6, 8)
    mask[[1, 4], 2:6] = mask[[0, 2], :3] = mask[[3, 5], 5:] = 1
    with torch.no_grad():
        model[2].weight.mul_(mask)
    x = torch.randn(5, 6)
    found = repack(model, {"2": grouping(mask.bool().numpy(), np.array([0, 1, 0, 2, 1, 2]))}, x).model
    assert isinstance(found[2], UnevenGroupedLinear)
    without = copy.deepcopy(found)
    without[2].bias.data.zero_()
    means = [signals(m, find_channels(m, x), in_one_state=True) for m in (found, without)]
    shifts = [means[0][f"2.weight{g}"][0] - means[1][f"2.weight{g}"][0] for g in range(3)]
    np.testing.assert_allclose(np.concatenate(shifts), found[2].bias.detach().numpy(), atol=1e-6)


def test_masks_hold_and_fold():
    layer = nn.Conv2d(3, 2, 3)
    model, weight = nn.Sequential(layer), layer.weight.detach().clone()
    first, second = torch.tensor([[1, 0, 1], [1, 1, 1]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    mask_weights(model, {"0": first})
    mask_weights(model, {"0": second})
    assert torch.equal(mask_of(layer), (first * second).float())
    copied = copy.deepcopy(model)
    fold_masks(model)
    assert torch.equal(copied(torch.ones(1, 3, 5, 5)), model(torch.ones(1, 3, 5, 5)))
    torch.testing.assert_close(layer.weight.detach(), weight * (first * second)[..., None, None])
    assert mask_of(layer) is None and isinstance(layer.weight, nn.Parameter)
    assert kernel_sparsity(model, ["0"]) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"sparsity": 1.0}, r"sparsity must lie between 0 and 1, got 1.0"),
        ({"step": 0.0}, r"step must be above 0, or the schedule would not end, got 0.0"),
        ({"step": float("nan")}, r"step must be above 0"),
        ({"groups": 0}, r"groups must be an integer of at least 1, got 0"),
        ({"epochs": 0}, r"epochs must be an integer of at least 1, got 0"),
        ({"fine_tuning": "local"}, r"fine_tuning must be one of \['local_and_global', 'global'\], got 'local'"),
        ({"linear_sparsity": 1}, r"linear_sparsity must lie in \[0, 1\), got 1"),
        ({"skip": "stem"}, r"skip must be a list of patterns, got 'stem'"),
    ],
)
def test_values_out_of_range_are_named(options, rule):
    with pytest.raises(ValueError, match=rule):
        SelfGrouping(**options)


def test_what_does_not_fit_the_network_is_refused_before_training():
    model, x, training = networks()["vgg"], images(), Training(images())
    with pytest.raises(ValueError, match=r"groups must be at most the filters of every layer, .* has 8, got 9"):
        SelfGrouping(groups=9).compress(model, (x,), training)
    with pytest.raises(ValueError, match=r"skip must match names of layers, 'stem\*' matches none of"):
        SelfGrouping(groups=2, skip=["stem*"]).compress(model, (x,), training)
    assert not training.stages


def test_levels_end_at_the_sparsity():
    assert SelfGrouping(0.75, 0.25).levels == [0.25, 0.5, 0.75]
    assert SelfGrouping(0.9, 0.1).levels == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert SelfGrouping(0.5, 0.3).levels == [0.3, 0.5]
    assert SelfGrouping(0.2, 0.7).levels == [0.2]
