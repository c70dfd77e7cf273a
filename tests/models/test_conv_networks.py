"""Sizes of the convolution networks, against the tables of DSXplore's networks and the papers' own parameter counts."""

from functools import partial

import pytest
import torch
from torch import nn

from multipath_gcn.models import VGG, MobileNet, ResNet, count_parameters
from multipath_gcn.nn import DepthwiseSeparableConv2d, layer_costs

NETWORKS = {
    "VGG16": partial(VGG, depth=16),
    "VGG19": partial(VGG, depth=19),
    "MobileNet": MobileNet,
    "ResNet18": partial(ResNet, depth=18),
    "ResNet50": partial(ResNet, depth=50),
}
# network: replaced layers; parameters and multiply-adds of the standard 3x3 they replace; depthwise parameters;
# of sliding layers with 1, 2, 4, 8 groups, parameters and multiply-adds. Millions, at 32 x 32 pixels.
TABLE = {
    "VGG16": (12, "14.71", "311.4", "0.033", "1.634 0.817 0.409 0.204", "34.6 17.3 8.65 4.33"),
    "VGG19": (15, "20.02", "396.4", "0.045", "2.224 1.112 0.556 0.278", "44.0 22.0 11.0 5.51"),
    "MobileNet": (13, "28.26", "396.4", "0.045", "3.140 1.570 0.785 0.392", "44.0 22.0 11.0 5.51"),
    "ResNet18": (8, "6.27", "302.0", "0.017", "0.696 0.348 0.174 0.087", "33.6 16.8 8.39 4.19"),
    "ResNet50": (16, "11.32", "604.0", "0.034", "1.257 0.629 0.314 0.157", "67.1 33.6 16.8 8.39"),
}


def as_printed(number: int, digits: str) -> str:
    return f"{number / 1e6:.{len(digits.split('.')[1])}f}"


def replaced(network, convolution):
    """Costs of the layers that ``convolution`` makes."""
    made = []

    def make(*args, **kwargs):
        made.append(convolution(*args, **kwargs))
        return made[-1]

    model = NETWORKS[network](3, 10, convolution=make)
    inside = {part for layer in made for part in layer.modules()}
    return len(made), [cost for cost in layer_costs(model, torch.randn(1, 3, 32, 32)) if cost.layer in inside]


@pytest.mark.parametrize("network", TABLE)
def test_standard_convolutions_cost_what_the_table_says(network):
    layers, parameters, macs, *_ = TABLE[network]
    count, costs = replaced(network, nn.Conv2d)
    assert (count, len(costs)) == (layers, layers)
    assert as_printed(sum(cost.parameters for cost in costs), parameters) == parameters
    assert as_printed(sum(cost.macs for cost in costs), macs) == macs


@pytest.mark.parametrize("position", range(4), ids=["1 group", "2 groups", "4 groups", "8 groups"])
@pytest.mark.parametrize("network", TABLE)
def test_sliding_convolutions_cost_what_the_table_says(network, position):
    layers, _, _, depthwise, parameters, macs = TABLE[network]
    parameters, macs = parameters.split()[position], macs.split()[position]
    for overlap in (0, 0.5):
        options = dict(pointwise="sliding", groups=2**position, overlap=overlap)
        count, costs = replaced(network, partial(DepthwiseSeparableConv2d, **options))
        parts = {name: [c for c in costs if c.name.endswith(name)] for name in ("depthwise", "pointwise")}
        assert count == len(parts["depthwise"]) == len(parts["pointwise"]) == layers
        assert as_printed(sum(cost.parameters for cost in parts["depthwise"]), depthwise) == depthwise
        assert as_printed(sum(cost.parameters for cost in parts["pointwise"]), parameters) == parameters
        assert as_printed(sum(cost.macs for cost in parts["pointwise"]), macs) == macs


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_counts_of_vgg_by_their_formulas(depth):
    convolutions = [layer for layer in VGG(3, 10, depth).modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == depth - 3
    for groups in (2, 4):
        made = VGG(3, 10, depth, convolution=partial(DepthwiseSeparableConv2d, pointwise="grouped", groups=groups))
        expected = sum(9 * c.in_channels + c.in_channels * c.out_channels // groups for c in convolutions[1:])
        separable = [layer for layer in made.modules() if isinstance(layer, DepthwiseSeparableConv2d)]
        assert sum(map(count_parameters, separable)) == expected


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (partial(ResNet, depth=18), 11_689_512),
        (partial(ResNet, depth=34), 21_797_672),
        (partial(ResNet, depth=50), 25_557_032),
        (partial(VGG, depth=11), 132_868_840 - 2752),  # of torchvision's with norms, whose convolutions have biases
        (partial(VGG, depth=16), 138_365_992 - 4224),
        (MobileNet, 4_231_976),
    ],
    ids=["ResNet18", "ResNet34", "ResNet50", "VGG11", "VGG16", "MobileNet"],
)
def test_imagenet_forms_have_the_published_sizes(build, parameters):
    with torch.device("meta"):
        model = build(3, 1000, form="imagenet")
        assert model(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert count_parameters(model) == parameters


@pytest.mark.parametrize("build", [MobileNet, VGG, ResNet])
def test_a_step_reaches_every_parameter(build):
    model = build(1, 4, width=0.25)
    model(torch.randn(2, 1, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_slices_are_plain_sequences():
    model = ResNet(3, 10, width=0.25)
    x = torch.randn(2, 3, 16, 16)
    assert type(model[:-1]) is nn.Sequential and model[:-1](x).shape == (2, 128) and model[-1] is model.classifier


def test_small_forms():
    vgg = VGG(3, 10, stages=((32, 32), (64, 64), (128, 128)))
    assert vgg(torch.randn(2, 3, 16, 16)).shape == (2, 10)
    resnet = ResNet(3, 10, blocks=(1, 1), width=0.5)
    assert resnet.classifier.in_features == 64 and resnet(torch.randn(2, 3, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VGG(3, 10, depth=12), r"depth must be one of \[11, 13, 16, 19\], got 12"),
        (lambda: VGG(3, 10, stages=[[8], []]), r"stages must each have at least one convolution, got \[\[8\], \[\]\]"),
        (lambda: VGG(3, 10)(torch.randn(1, 3, 16, 32)), r"at least 32 pixels high and wide, got \[1, 3, 16, 32\]"),
        (lambda: ResNet(3, 10, depth=20), r"depth must be one of \[18, 34, 50\], got 20"),
        (lambda: ResNet(3, 10, blocks=[1, 0]), r"blocks must be 1 to 4 positive numbers, got \[1, 0\]"),
        (lambda: MobileNet(3, 10, form="tiny"), r"form must be one of \['cifar', 'imagenet'\], got 'tiny'"),
        (lambda: MobileNet(3, 10, width=0), "width must be greater than 0, got 0"),
    ],
    ids=range(7),
)
def test_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_width_that_groups_do_not_divide_names_the_layer():
    convolution = partial(DepthwiseSeparableConv2d, pointwise="sliding", groups=16)
    for build, layer in (
        (partial(VGG, stages=[[40, 40]]), "features.1, 40 -> 40"),
        (partial(MobileNet, width=0.75), "features.1, 24 -> 48"),
        (partial(ResNet, width=0.375), "features.1.body.1, 24 -> 24"),
        (partial(ResNet, width=0.375, depth=50), "features.1.body.1, 24 -> 24"),
    ):
        with pytest.raises(
            ValueError, match=rf"{layer} channels: in_channels \(\d+\) must be divisible by groups \(16\)"
        ):
            build(3, 10, convolution=convolution)
