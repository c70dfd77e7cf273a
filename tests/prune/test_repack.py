"""Masked filters become real groups: the same outputs from fewer multiply-adds."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from multipath_gcn.models import VGG, ResNet
from multipath_gcn.nn import GroupedConv2d
from multipath_gcn.nn.uneven_conv import UnevenGroupedConv2d
from multipath_gcn.prune import Grouping, cost, find_channels, load_pruned, repack, save_pruned, self_group
from multipath_gcn.prune.reorder import may_be_reordered


class Dense(nn.Module):
    """Two layers of a DenseNet: what is read is concatenated."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one, self.two = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(24, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(40)
        self.head = nn.Linear(40, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        x = torch.cat([x, self.one(x).relu()], 1)
        x = torch.cat([x, self.two(x).relu()], 1)
        return self.head(self.norm(x).mean((2, 3)))


class Residual(nn.Module):
    """Sums of layers with biases: of the whole group, of a concatenation, and of a layer in groups."""

    def __init__(self, inner=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.a, self.b = nn.Conv2d(16, 6, 3, padding=1), nn.Conv2d(16, 10, 3, padding=1)
        self.c = inner or nn.Conv2d(16, 16, 3, padding=1)
        self.d = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        x = (torch.cat([self.a(x), self.b(x)], 1) + self.c(x)).relu()
        return self.head((x + self.d(x)).relu().mean((2, 3)))


class Auxiliary(nn.Module):
    """A head that only training runs."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 3)
        self.head, self.other = nn.Linear(12, 4), nn.Linear(12, 4)

    def forward(self, x):
        h = self.two(self.one(x).relu()).relu().mean((2, 3))
        return (self.head(h), self.other(h)) if self.training else self.head(h)


class Logarithm(nn.Module):
    """Gives no numbers of random ones."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU(), nn.Conv2d(12, 2, 3)
        )

    def forward(self, x):
        return self.layers(x.log())


NETWORKS = {
    "vgg": lambda: VGG(3, 10, stages=((24, 24), (32, 32))),
    "resnet": lambda: ResNet(3, 10, width=0.25, blocks=(2, 1)),
    "mobilenet block": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(8, 24, 3),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, groups=24),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 3),
    ),
    "dense": Dense,
    "sums": Residual,
    "sums of groups": lambda: Residual(GroupedConv2d(16, 16, 3, padding=1, groups=4)),
    "auxiliary": Auxiliary,
    "logarithm": Logarithm,
    "flattened": lambda: nn.Sequential(
        nn.Conv2d(3, 12, 3),
        nn.ReLU(),
        nn.Conv2d(12, 10, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(40, 3),
    ),
}
IN_ORDER = ("vgg", "mobilenet block", "dense", "flattened", "logarithm")  # no layer needs a selection


def masked(name, sparsity=0.6, groups=4):
    """A network in which every plain 3x3 convolution but the first is masked, and the groups of their filters."""
    torch.manual_seed(0)
    model, found = NETWORKS[name]().eval(), {}
    for layer, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2), nn.init.normal_(module.bias, 0, 0.3)
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 2)
        plain = isinstance(module, nn.Conv2d) and module.groups == 1 and module.kernel_size == (3, 3)
        if plain and module.in_channels > 3 and module.out_channels > 2:
            mask, found[layer] = self_group(module.weight, sparsity, groups)
            with torch.no_grad():
                module.weight *= mask[:, :, None, None]
    return model, found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_groups_give_what_masks_gave(name, dtype):
    model, groups = masked(name)
    model, x = model.to(dtype), torch.rand(2, 3, 16, 16).to(dtype)
    before = copy.deepcopy(model.state_dict())
    found = repack(model, groups, x)
    near = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 5e-2}[dtype]
    assert found.difference < near
    torch.testing.assert_close(found.model(x), model(x), rtol=near, atol=near)
    layers = [found.model.get_submodule(layer) for layer in groups]
    assert all(isinstance(layer, UnevenGroupedConv2d) for layer in layers)
    assert all(layer.order is None for layer in layers) is (name in IN_ORDER)
    kernels = sum(model.get_submodule(layer).weight[:, :, 0, 0].numel() for layer in groups)
    pairs = sum(weight[:, :, 0, 0].numel() for layer in layers for weight in layer.weights)
    assert pairs <= 0.42 * kernels
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_multiply_adds_are_those_of_the_kernels_that_are_left():
    model, groups = masked("vgg")
    x = torch.randn(2, 3, 16, 16)
    found = repack(model, groups, x).model
    places = {"features.0": 256, "features.1": 256, "features.3": 64, "features.4": 64, "classifier": 1}
    weights = {name: p for name, p in found.named_parameters() if ".weight" in name and p.dim() > 1}
    by_hand = sum(2 * p.numel() * places[name[:10]] for name, p in weights.items())
    assert cost(found, x).macs == by_hand < 0.45 * cost(model, x).macs


def test_what_only_training_runs_still_reads_its_channels():
    model, groups = masked("auxiliary")
    x = torch.rand(2, 3, 16, 16)
    found = repack(model, groups, x).model
    for one, two in zip(found.train()(x), model.train()(x), strict=True):
        torch.testing.assert_close(one, two)


def test_a_layer_of_its_own_channels_needs_no_selection_and_one_of_a_sum_does():
    model, groups = masked("resnet")
    x = torch.randn(1, 3, 16, 16)
    found = repack(model, groups, x).model
    in_order = {layer: found.get_submodule(layer).order is None for layer in groups}
    assert all(in_order[layer] for layer in groups if ".0." in layer)  # the first of a block
    assert not all(in_order.values())  # only one of those that are added can be put in order
    channels = find_channels(model, x)
    assert all(may_be_reordered(model, channels, channels.group(layer), layer) for layer in groups)
    assert not may_be_reordered(model, channels, channels.group("classifier"), "classifier")  # the output
    exported = torch.export.export(found, (x,)).module()
    torch.testing.assert_close(exported(x), found(x))
    torch.testing.assert_close(copy.deepcopy(found)(x), found(x))
    assert "outputs in an order of their own" in str(found)


def test_channels_that_nothing_reads_go():
    model, groups = masked("vgg")
    with torch.no_grad():
        model.features[1].convolution.weight[:, [3, 5]] = 0
        model.features[3].convolution.weight[[1, 2]] = 0  # read nothing
        model.features[3].norm.weight[[1, 2]] = 0
        model.features[3].norm.bias[[1, 2]] = torch.tensor([-1.0, 2.0])  # and give nothing, or something
    x = torch.randn(2, 3, 16, 16)
    found = repack(model, groups, x)
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-5, atol=1e-5)
    removed = {layer: units for plan in found.plans for layer, units in plan.removed.items()}
    assert {3, 5} <= set(removed["features.0.convolution"]) and 1 in removed["features.3.convolution"]
    assert 2 not in removed["features.3.convolution"]  # a constant, of which the border of images reads less


def test_a_filter_that_reads_nothing_stays_while_its_norm_has_not_learned_of_it():
    model, groups = masked("vgg")
    block = model.features[3]
    with torch.no_grad():
        block.convolution.weight[4] = 0
        block.norm.weight[4], block.norm.bias[4], block.norm.running_mean[4], block.norm.running_var[4] = 1, -4, -5, 1
    x = torch.randn(2, 3, 16, 16)
    found = repack(model, groups, x)  # it gives 1
    torch.testing.assert_close(found.model(x), model(x), rtol=1e-5, atol=1e-5)


def test_it_is_saved_and_loaded(tmp_path):
    for name in ("vgg", "resnet"):
        model, groups = masked(name)
        with torch.no_grad():
            model.get_submodule(next(iter(groups))).weight[:, :2] = 0
        x = torch.randn(2, 3, 16, 16)
        found = repack(model, groups, x)
        assert len(found.plans) > 1 or name == "resnet"
        save_pruned(tmp_path / name, found.model, found.plans)
        again = load_pruned(tmp_path / name, NETWORKS[name]()).eval()
        assert torch.equal(again(x), found.model(x))


def test_it_trains_on_and_draws_no_numbers():
    model, groups = masked("resnet")
    x = torch.randn(4, 3, 16, 16)
    before = torch.get_rng_state()
    smaller = repack(model, groups, x).model.train()
    assert torch.equal(torch.get_rng_state(), before)
    smaller(x).logsumexp(1).sum().backward()
    assert all(parameter.grad is not None for parameter in smaller.parameters())


def test_wrong_layers_and_groups_leave_the_model_alone():
    model, groups = masked("vgg")
    x, layer = torch.randn(1, 3, 16, 16), "features.1.convolution"
    before = copy.deepcopy(model.state_dict())
    all_of = Grouping((tuple(range(10)),), (tuple(range(32)),))
    for wrong, told in (
        ({layer: all_of}, "groups of 'features.1.convolution' must have each of its 24 filters once"),
        ({"features.1.norm": all_of}, "features.1.norm must be a plain Conv2d or Linear without groups and hooks"),
        ({"nowhere": all_of}, "layer must be one of the model, which has no 'nowhere'"),
        (
            {layer: replace(groups[layer], inputs=((0,),) * len(groups[layer].filters))},
            "weight of 'features.1.convolution' must be zero where groups do not read, .* apply the masks first",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            repack(model, groups | wrong, x)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_weight_that_two_layers_share_is_refused():
    model, groups = masked("vgg")
    model.features[4].convolution.weight = model.features[3].convolution.weight = model.features[4].convolution.weight
    model.features[3].convolution.in_channels = 32
    with pytest.raises(ValueError, match="features.3.convolution must have its weight for itself to be regrouped"):
        repack(model, groups, torch.randn(1, 3, 16, 16))
