import pytest
import torch
from torch import nn

from multipath_gcn.models import MobileNet, ResNet
from multipath_gcn.nn import ChannelConv2d, DepthwiseSeparableConv2d, GroupedConv2d, convert


class Net(nn.Module):
    """Every reason there is to leave a convolution alone."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.spatial = nn.Conv2d(8, 8, 3, 2, 1, bias=False)
        self.shared = self.spatial_again = nn.Conv2d(8, 12, 3, padding=1)
        self.expand = nn.Conv2d(12, 16, 1)
        self.shortcut = nn.Conv2d(16, 16, 1, stride=2)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.reflect = nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")
        self.other = type("Other", (nn.Conv2d,), {})(16, 6, 1)
        self.head = nn.Conv2d(6, 10, 1)

    def forward(self, x):
        x = self.shared(self.spatial(self.stem(x)).relu())
        x = self.reflect(self.depthwise(self.shortcut(self.expand(x))))
        return self.head(self.other(x)).mean((2, 3))


def test_every_layer_is_converted_or_the_reason_is_given():
    net = Net().eval()
    example = torch.randn(2, 3, 16, 16)
    before = net(example)
    conversion = convert(net, "separable", groups=4, overlap=0.5, example=example)
    assert {row.name: row.after for row in conversion.layers} == {
        "stem": "left alone: in_channels (3) is not divisible by groups (4)",
        "spatial": "DepthwiseSeparableConv2d",
        "shared": "DepthwiseSeparableConv2d",
        "expand": "ChannelConv2d",
        "shortcut": "left alone: is 1x1 with stride (2, 2), padding (0, 0)",
        "depthwise": "left alone: has 16 groups already",
        "reflect": "left alone: pads with 'reflect'",
        "other": f"left alone: its class is {__name__}.Other",
        "head": "left alone: in_channels (6) is not divisible by groups (4)",
    }
    model = conversion.model
    assert isinstance(model.spatial, DepthwiseSeparableConv2d) and isinstance(model.expand, ChannelConv2d)
    assert model.shared is model.spatial_again and not model.spatial.training
    assert model.spatial.pointwise.bias is None and model.shared.pointwise.bias is not None
    assert model(example).shape == before.shape
    torch.testing.assert_close(net(example), before)  # the given one is as it was
    torch.testing.assert_close(model.stem.weight, net.stem.weight)


def test_the_report_counts_parameters_and_multiply_adds():
    conversion = convert(Net(), "separable", groups=4, overlap=0.5, example=torch.randn(2, 3, 16, 16))
    rows = {row.name: row for row in conversion.layers}
    assert rows["spatial"].parameters == (8 * 8 * 9, 8 * 9 + 8 * 2)
    assert rows["spatial"].macs == (64 * 8 * 8 * 9, 64 * (8 * 9 + 8 * 2))
    assert rows["shared"].parameters == (8 * 12 * 9 + 12, 8 * 9 + 12 * 2 + 12)
    assert rows["stem"].macs == (256 * 3 * 8 * 9,) * 2
    table = str(conversion).splitlines()
    assert table[0].split() == ["layer", "parameters", "multiply-adds", "before", "after"]
    assert len(table) == 11 and "3 converted" in table[-1] and "576 -> 88" in str(conversion)
    assert convert(Net(), "separable", groups=4).layers[1].macs is None


def test_to_grouped_converts_strided_1x1_and_keeps_geometry():
    model = convert(Net(), "grouped", groups=2, skip="stem").model
    assert isinstance(model.shortcut, GroupedConv2d) and model.shortcut.groups == 2
    assert (model.shortcut.stride, model.spatial.stride, model.spatial.padding) == ((2, 2), (2, 2), (1, 1))
    assert model(torch.randn(1, 3, 16, 16)).shape == (1, 10)


@pytest.mark.parametrize("skip", [["features.1.*", "features.2.*"], lambda name, _: name.split(".")[1] in "12"])
def test_skips_by_pattern_or_function(skip):
    rows = convert(ResNet(3, 10, width=0.25), "separable", skip=skip).layers
    skipped = [row.name for row in rows if row.after == "left alone: skipped"]
    assert skipped == [name for name in (row.name for row in rows) if name[:10] in ("features.1", "features.2")]
    assert len(skipped) == 4


def test_dense_parts_of_separable_convolutions_are_converted_too():
    conversion = convert(MobileNet(3, 10, width=0.25), "separable", groups=2, overlap="1/3")
    assert sum(row.converted for row in conversion.layers) == 13
    assert all(block.convolution.pointwise.windows.cycle > 1 for block in conversion.model.features[1:])
    with pytest.raises(ValueError, match="reads windows already"):
        convert(conversion.model, "separable", groups=4)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.ConvTranspose2d(4, 4, 3), "its class is torch.nn.modules.conv.ConvTranspose2d"),
        (nn.Conv1d(4, 4, 3), "its class is torch.nn.modules.conv.Conv1d"),
        (nn.LazyConv2d(4, 3), "its class is torch.nn.modules.conv.LazyConv2d"),
        (nn.Conv2d(64, 1, 3), "has 577 weights, and would have 641"),
    ],
    ids=str,
)
def test_other_layers_are_listed_and_left_alone(layer, reason):
    model = nn.Sequential(nn.Conv2d(8, 8, 3), layer)
    assert convert(model, "separable").layers[1].after == f"left alone: {reason}"
    with pytest.raises(ValueError, match=f"got none: 0: {reason}"):
        convert(nn.Sequential(layer), "separable")


def test_tied_weights_hooks_and_parts_are_left_alone():
    tied, hooked = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)), nn.Conv2d(8, 8, 3)
    tied[1].weight = tied[0].weight
    hooked.register_forward_hook(lambda *_: None)
    model = nn.Sequential(tied, hooked, DepthwiseSeparableConv2d(1, 8, 3))
    rows = {row.name: row.after for row in convert(model, "separable").layers}
    assert rows == {
        "0.0": "left alone: shares its weight with another",
        "0.1": "left alone: shares its weight with another",
        "0.2": "DepthwiseSeparableConv2d",
        "1": "left alone: has hooks",
        "2.depthwise": "left alone: is the depthwise part of a separable one",
        "2.pointwise": "left alone: is 1x1 already",
    }


def test_a_model_that_is_a_convolution():
    assert isinstance(convert(nn.Conv2d(4, 4, 3), "separable").model, DepthwiseSeparableConv2d)


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("dense", {}, r"to must be one of \['separable', 'grouped'\], got 'dense'"),
        ("grouped", {}, "groups must be given for to='grouped', got None"),
        ("grouped", dict(groups=2, overlap=0.5), "must be left out for to='grouped', got 0.5, False"),
        ("separable", dict(overlap=0.5), "groups must be given where overlap is, got overlap=0.5"),
        ("separable", dict(groups=1), "groups must be None or an integer of at least 2, got 1"),
        ("separable", dict(skip="nothing*"), r"skip must name convolutions of the model, got 'nothing\*'"),
        ("grouped", dict(groups=7), r"got none: stem: in_channels \(3\) is not divisible by groups \(7\); spatial"),
    ],
    ids=str,
)
def test_refuses(to, options, message):
    with pytest.raises(ValueError, match=message):
        convert(Net(), to, **options)
