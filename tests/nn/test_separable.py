"""DepthwiseSeparableConv2d is a depthwise convolution and a masked dense 1x1 one."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.nn import ChannelConv2d, DepthwiseSeparableConv2d, GroupedConv2d
from multipath_gcn.ops import separable_conv2d

POINTWISE = [
    dict(),
    dict(pointwise="grouped"),
    dict(pointwise="grouped", groups=4),
    dict(pointwise="sliding", groups=4, overlap=0),
    dict(pointwise="sliding", groups=2, overlap=0.25),
    dict(pointwise="sliding", groups=4),
]
SPATIAL = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, stride=2, padding=1, bias=False),
    dict(kernel_size=(5, 3), padding="same", dilation=2),
]


def dense_weight(layer):
    """The 1x1 weight with zeros where a filter does not read."""
    windows, weight = layer.windows, layer.weight
    channels = (torch.tensor(windows.start.tolist())[:, None] + torch.arange(windows.width)) % windows.in_channels
    return weight.new_zeros(windows.out_channels, windows.in_channels).scatter(1, channels, weight)


def definition(layer, x):
    conv = layer.depthwise
    h = F.conv2d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.in_channels)
    if layer.norm is not None:
        h = layer.norm(h).relu()
    return F.conv2d(h, dense_weight(layer.pointwise)[:, :, None, None], layer.pointwise.bias)


def built(options, norm_between=False, dtype=torch.float64):
    layer = DepthwiseSeparableConv2d(8, 12, **options, norm_between=norm_between, dtype=dtype)
    if norm_between:
        nn.init.normal_(layer.norm.running_mean), nn.init.uniform_(layer.norm.running_var, 0.5, 2)
        nn.init.normal_(layer.norm.weight), nn.init.normal_(layer.norm.bias)
    return layer


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm_between", [False, True])
@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
@pytest.mark.parametrize("pointwise", POINTWISE, ids=str)
def test_is_its_definition_forward_and_backward(pointwise, spatial, norm_between, training):
    layer = built(pointwise | spatial, norm_between).train(training)
    twin = copy.deepcopy(layer)
    x = torch.randn(3, 8, 9, 7, dtype=torch.float64, requires_grad=True)
    found, wanted = layer(x), definition(twin, x)
    torch.testing.assert_close(found, wanted)
    grad = torch.randn_like(wanted)
    torch.testing.assert_close(
        torch.autograd.grad(found, [x, *layer.parameters()], grad),
        torch.autograd.grad(wanted, [x, *twin.parameters()], grad),
    )


@pytest.fixture
def calls(monkeypatch):
    """How often both parts were one call, wherever it was measured to be faster."""
    found = []

    def counted(*args, **kwargs):
        found.append(1)
        return separable_conv2d(*args, **kwargs)

    monkeypatch.setattr("multipath_gcn.nn.separable.separable_conv2d", counted)
    return found


@pytest.mark.parametrize("size", [12, 96])  # of few pixels, two operators
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("norm_between", [False, True])
@pytest.mark.parametrize("pointwise", POINTWISE, ids=str)
def test_in_inference_it_is_the_same(pointwise, norm_between, memory_format, size, calls):
    layer = built(pointwise | SPATIAL[0], norm_between, torch.float32).eval()
    x = torch.randn(2, 8, size, size).contiguous(memory_format=memory_format)
    wanted = definition(layer, x)
    with torch.no_grad():
        found = layer(x)
    torch.testing.assert_close(found, wanted)
    assert found.is_contiguous(memory_format=memory_format) and calls == [1]


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("norm_between", [False, True])
@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
def test_packed_it_has_the_norm_and_activation_after_it(spatial, norm_between, activation):
    layer = built(POINTWISE[5] | spatial, norm_between)
    norm = nn.BatchNorm2d(12, dtype=torch.float64)
    nn.init.normal_(norm.running_mean), nn.init.uniform_(norm.running_var, 0.5, 2), nn.init.normal_(norm.bias)
    layer.eval(), norm.eval()
    x = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    wanted = norm(definition(layer, x))
    packed = layer.prepack(norm, activation)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), wanted.relu() if activation else wanted)
        torch.testing.assert_close(packed(x[0]), (wanted.relu() if activation else wanted)[0])
    assert not list(packed.parameters()) and not packed.state_dict()


def test_hooks_on_its_parts_are_called_in_inference_too():
    layer, seen = built(SPATIAL[0]).eval(), []
    layer.pointwise.register_forward_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        layer(torch.randn(1, 8, 5, 5, dtype=torch.float64))
    assert seen == [1]


def counting_norm(layer):
    layer.norm.train()


def another_norm(layer):
    layer.norm = nn.GroupNorm(2, 8, dtype=torch.float64)


def without_statistics(layer):
    layer.norm = nn.BatchNorm2d(8, track_running_stats=False, dtype=torch.float64)


def reflecting(layer):
    layer.depthwise = GroupedConv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect", dtype=torch.float64)


def stock_parts(layer):
    layer.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, dtype=torch.float64)
    layer.pointwise = nn.Conv2d(8, 12, 1, dtype=torch.float64)


def another_activation(layer):
    layer.activation = nn.ReLU6()


@pytest.mark.parametrize(
    "change", [counting_norm, another_norm, without_statistics, reflecting, stock_parts, another_activation]
)
def test_parts_that_somebody_has_changed_are_called_one_by_one(change, calls):
    layer = built(SPATIAL[0], norm_between=True).eval()
    change(layer)
    twin, x = copy.deepcopy(layer), torch.randn(2, 8, 9, 9, dtype=torch.float64)
    wanted = twin.pointwise(twin.activation(twin.norm(twin.depthwise(x))))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), wanted)
    assert not calls
    torch.testing.assert_close(dict(layer.named_buffers()), dict(twin.named_buffers()))


def test_a_bias_between_the_parts_is_folded_in(calls):
    layer = built(SPATIAL[0], norm_between=True).eval()
    layer.depthwise = GroupedConv2d(8, 8, 3, padding=1, groups=8, dtype=torch.float64)
    x = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    wanted = layer(x)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), wanted)
        torch.testing.assert_close(layer.prepack()(x), wanted)
    assert calls == [1]


def test_what_cannot_be_packed_is_refused():
    layer = built(SPATIAL[0], norm_between=True)
    reflecting(layer)
    with pytest.raises(ValueError, match="the parts must be those that the layer was made of to be packed"):
        layer.prepack()


def test_parts_weights_and_repr():
    layer = DepthwiseSeparableConv2d(8, 12, 3, 2, 1, pointwise="sliding", groups=4, norm_between=True)
    assert isinstance(layer.depthwise, GroupedConv2d) and isinstance(layer.pointwise, ChannelConv2d)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "depthwise.weight": (8, 1, 3, 3),
        "norm.weight": (8,),
        "norm.bias": (8,),
        "pointwise.weight": (12, 2),
        "pointwise.bias": (12,),
    }
    assert str(layer).startswith("DepthwiseSeparableConv2d(\n  8, 12\n")
    before = layer.pointwise.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.pointwise.weight)


def test_without_overlap_sliding_windows_are_shuffled_groups():
    sliding = DepthwiseSeparableConv2d(8, 12, 3, pointwise="sliding", groups=4, overlap=0)
    grouped = DepthwiseSeparableConv2d(8, 12, 3, pointwise="grouped", groups=4)
    grouped.depthwise = sliding.depthwise
    order = sliding.pointwise.windows.permutation()
    grouped.pointwise.weight.data = sliding.pointwise.weight[order].detach()
    grouped.pointwise.bias.data = sliding.pointwise.bias[order].detach()
    x = torch.randn(2, 8, 5, 5)
    shuffled = grouped(x).unflatten(1, (4, 3)).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(sliding(x), shuffled)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(pointwise="depthwise"), r"pointwise must be one of \['dense', 'grouped', 'sliding'\], got 'depthwise'"),
        (dict(groups=2), "groups must be None for pointwise='dense', got 2"),
        (dict(pointwise="grouped", overlap=0.5), "overlap must be None for pointwise='grouped', got 0.5"),
        (dict(pointwise="grouped", groups=3), r"in_channels \(8\) must be divisible by groups \(3\)"),
        (dict(pointwise="grouped", groups=8), r"out_channels \(12\) must be divisible by groups \(8\)"),
        (dict(pointwise="sliding", overlap=1), "overlap must be a number in"),
    ],
    ids=str,
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        DepthwiseSeparableConv2d(8, 12, 3, **options)


@pytest.mark.parametrize("gradients", [True, False])
def test_compiles_whole(gradients):
    layer = DepthwiseSeparableConv2d(8, 12, 3, padding=1, pointwise="sliding", groups=4, norm_between=True)
    layer.train(gradients)
    x = torch.randn(2, 8, 12, 12)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(compiled(x), layer(x))
