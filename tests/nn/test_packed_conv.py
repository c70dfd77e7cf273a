"""Convolution, batch norm and ReLU as one packed layer."""

import copy
import pickle

import pytest
import torch
from torch import nn

from multipath_gcn.nn import GroupedConv2d, PackedGroupedConv2d

OPTIONS = [
    dict(groups=2),
    dict(groups=8, stride=2, padding=1, bias=False),
    dict(groups=4, padding="same", dilation=2),
    dict(groups=1, padding=(1, 2), stride=(2, 1), bias=False),
]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def layers(dtype=torch.float64, affine=True, **options):
    conv, norm = GroupedConv2d(8, 16, 3, **options), nn.BatchNorm2d(16, eps=1e-3, affine=affine)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return conv.to(dtype), norm.to(dtype).eval()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=("planar", "last"))
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_the_layers_it_stands_for(options, dtype, memory_format):
    conv, norm = layers(dtype, **options)
    x = torch.randn(3, 8, 9, 11).to(dtype).contiguous(memory_format=memory_format)
    wide = [copy.deepcopy(layer).double() for layer in (conv, norm)]
    for batch_norm, activation, wanted in (
        (None, None, nn.Sequential(wide[0])),
        (None, "relu", nn.Sequential(wide[0], nn.ReLU())),
        (norm, None, nn.Sequential(*wide)),
        (norm, "relu", nn.Sequential(*wide, nn.ReLU())),
    ):
        packed = nn.Sequential(conv.prepack(batch_norm, activation))
        y = packed(x)
        assert y.dtype == dtype and y.is_contiguous(memory_format=memory_format)
        tolerance = dict(rtol=TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])
        torch.testing.assert_close(y.double(), wanted(x.double()), **tolerance)
        torch.testing.assert_close(packed(x[0]), y[0], **tolerance)


def test_norm_without_scale_and_shift_or_in_training():
    conv, norm = layers(affine=False, groups=2)
    x = torch.randn(3, 8, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(conv.prepack(norm)(x), norm(conv(x)))
    wanted = conv.prepack(norm)(x)
    assert torch.equal(conv.prepack(norm.train())(x), wanted)


def test_norm_of_a_wider_type():
    conv, norm = layers(torch.float32, groups=2)
    x = torch.randn(3, 8, 5, 5)
    wanted = norm(conv(x))
    y = conv.bfloat16().prepack(norm)(x.bfloat16())
    torch.testing.assert_close(y.float(), wanted, rtol=5e-2, atol=5e-2)


def test_is_a_module_without_state():
    conv, norm = layers(torch.float32, groups=2, padding=1)
    packed, x = conv.prepack(norm, "relu"), torch.randn(2, 8, 5, 5)
    assert isinstance(packed, PackedGroupedConv2d)
    assert not packed.state_dict() and not list(packed.parameters()) and not list(packed.buffers())
    assert str(packed) == (
        "PackedGroupedConv2d(PackedConv2d([16, 4, 3, 3], stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=2, "
        "activation=relu))"
    )
    y = packed(x)
    assert torch.equal(copy.deepcopy(packed)(x), y)
    assert torch.equal(packed.train()(x), y)
    with torch.no_grad():
        conv.weight.zero_(), norm.bias.zero_()
    assert torch.equal(packed(x), y)
    with pytest.raises(TypeError, match="store the weight, and pack it after loading"):
        pickle.dumps(packed)


def test_compiles_into_one_graph():
    conv, norm = layers(torch.float32, groups=4, padding=1)
    packed, x = nn.Sequential(conv.prepack(norm, "relu"), nn.MaxPool2d(2)).eval(), torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(torch.compile(packed, fullgraph=True)(x), packed(x))


@pytest.mark.parametrize(
    "options, norm, activation, message",
    [
        (dict(padding=1, padding_mode="reflect"), None, None, "padding_mode must be \"zeros\" .*, got 'reflect'"),
        ({}, nn.BatchNorm1d(16), None, "norm must be nn.BatchNorm2d, got BatchNorm1d"),
        ({}, nn.BatchNorm2d(8), None, "norm must have the 16 channels of the convolution, got 8"),
        ({}, nn.BatchNorm2d(16, track_running_stats=False), None, "norm must have running statistics"),
        ({}, nn.BatchNorm2d(16, device="meta"), None, r"norm must be on the device of the weight \(cpu\), got meta"),
        ({}, None, "gelu", "activation must be None or \"relu\", got 'gelu'"),
        (dict(dtype=torch.float16), None, None, "weight must be of type float32, float64 or bfloat16"),
    ],
)
def test_refuses(options, norm, activation, message):
    with pytest.raises(ValueError, match=message):
        GroupedConv2d(8, 16, 3, **options).prepack(norm, activation)


def test_refuses_what_it_cannot_compute():
    packed = GroupedConv2d(8, 16, 3, groups=2).prepack()
    with pytest.raises(ValueError, match="x must not require a gradient with a packed weight"):
        packed(torch.randn(1, 8, 5, 5, requires_grad=True))
    with pytest.raises(ValueError, match="x must be like the packed weight"):
        packed(torch.randn(1, 8, 5, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match="convolution must be a PackedConv2d, got Conv2d"):
        PackedGroupedConv2d(nn.Conv2d(8, 16, 3))
