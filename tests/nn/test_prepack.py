import copy

import pytest
import torch
from torch import nn

from multipath_gcn.models import VGG, MobileNet, ResNet
from multipath_gcn.nn import ConvBlock, DepthwiseSeparableConv2d, GroupedConv2d, PackedGroupedConv2d, prepack

CONVOLUTIONS = {
    "standard": GroupedConv2d,
    "stock": nn.Conv2d,  # knows no packing
    "sliding": lambda *args, **kwargs: DepthwiseSeparableConv2d(*args, **kwargs, pointwise="sliding", groups=4),
    "norm": lambda *args, **kwargs: DepthwiseSeparableConv2d(*args, **kwargs, norm_between=True),
}


def deep(build, **options):
    return lambda *args, **kwargs: build(*args, **kwargs, **options)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize("build", [MobileNet, VGG, ResNet, deep(ResNet, depth=50), deep(ResNet, form="imagenet")])
def test_a_network_computes_the_same(build, convolution, memory_format):
    model = build(3, 10, width=0.25, convolution=CONVOLUTIONS[convolution]).to(memory_format=memory_format)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3), nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.3)
    x = torch.randn(2, 3, 32, 32).contiguous(memory_format=memory_format)
    state = copy.deepcopy(model.state_dict())
    packed = prepack(model)
    wanted = model.eval()(x)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), wanted.detach(), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in packed.modules()) or convolution == "stock"
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_packed_is_copied():
    model = nn.Sequential(nn.Linear(3, 3), ConvBlock(nn.Conv2d(1, 2, 3), 2))
    packed = prepack(model)
    assert type(packed[0]) is nn.Linear and type(packed[1]) is ConvBlock and packed[1] is not model[1]
    assert not packed.training and model.training


def test_what_computes_something_else_or_refuses_is_copied():
    class Twice(GroupedConv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    reflect = GroupedConv2d(4, 4, 3, padding=1, padding_mode="reflect")
    block = ConvBlock(GroupedConv2d(4, 4, 3), 4)
    block.norm = nn.GroupNorm(2, 4)
    leaky = ConvBlock(GroupedConv2d(4, 4, 3), 4)
    leaky.activation = nn.LeakyReLU()
    model = nn.Sequential(Twice(3, 4, 3), reflect, block, leaky).eval()
    packed = prepack(model)
    assert [type(layer) for layer in packed] == [Twice, GroupedConv2d, ConvBlock, ConvBlock]
    assert type(packed[2].convolution) is PackedGroupedConv2d  # a part of it is packed by itself
    x = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), model(x))
    assert not any(parameter.requires_grad for parameter in packed.parameters())


def test_a_packed_network_refuses_gradients():
    packed = prepack(MobileNet(3, 10, width=0.25))
    with pytest.raises(ValueError, match="must not require a gradient"):
        packed(torch.randn(1, 3, 8, 8, requires_grad=True))
