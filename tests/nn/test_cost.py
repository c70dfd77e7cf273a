import torch
from torch import nn

from multipath_gcn.nn import ChannelLinear, DepthwiseSeparableConv2d, GroupedConv2d, layer_costs
from multipath_gcn.ops import ChannelWindows


def test_counts_of_every_kind_of_layer():
    model = nn.Sequential(
        GroupedConv2d(4, 8, 3, stride=2, padding=1, groups=2),
        nn.BatchNorm2d(8),
        DepthwiseSeparableConv2d(8, 6, 3, pointwise="sliding", groups=4, bias=False),
        nn.Flatten(),
        nn.Linear(6 * 9, 10),
        ChannelLinear(ChannelWindows.sliding(10, 5, 2, 0.5)),
    )
    model[1].eval()
    costs = layer_costs(model, torch.randn(3, 4, 10, 10))
    assert [(cost.name, cost.parameters, cost.macs, cost.shape) for cost in costs] == [
        ("0", 8 * 2 * 9 + 8, 8 * 2 * 9 * 25, (3, 8, 5, 5)),
        ("2.depthwise", 8 * 9, 8 * 9 * 9, (3, 8, 3, 3)),
        ("2.pointwise", 6 * 2, 6 * 2 * 9, (3, 6, 3, 3)),
        ("4", 550, 540, (3, 10)),
        ("5", 5 * 5 + 5, 25, (3, 5)),
    ]
    assert model.training and not model[1].training  # modes are as they were
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_called_twice_is_listed_twice_and_rows_have_inner_dimensions():
    layer = nn.Linear(4, 4)
    costs = layer_costs(nn.Sequential(layer, layer), torch.randn(2, 5, 4))
    assert [cost.macs for cost in costs] == [5 * 16, 5 * 16]


def test_rows_of_images_and_other_convolutions():
    (cost,) = layer_costs(nn.Linear(8, 8), torch.randn(2, 5, 7, 8))
    assert cost.macs == 5 * 7 * 64
    (cost,) = layer_costs(nn.Conv1d(4, 6, 3), torch.randn(2, 4, 10))
    assert cost.macs == 8 * 6 * 4 * 3
    (cost,) = layer_costs(nn.ConvTranspose2d(4, 6, 3, stride=2), torch.randn(2, 4, 5, 5))
    assert (cost.macs, cost.shape) == (25 * 4 * 6 * 9, (2, 6, 11, 11))
