"""GroupedConv2d stands where nn.Conv2d stood."""

import copy

import pytest
import torch
from torch import nn

from multipath_gcn.nn import GroupedConv2d

OPTIONS = [
    dict(groups=2),
    dict(groups=8, stride=2, padding=1, bias=False),
    dict(groups=4, padding="same", dilation=2),
    dict(groups=2, padding=(1, 2), padding_mode="reflect"),
    dict(groups=2, padding=2, padding_mode="circular", stride=(2, 1)),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(3, 8, 9, 11), (8, 9, 11)])
def test_takes_the_place_of_conv2d(options, shape):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, dtype=torch.float64, **options)
    torch.manual_seed(0)
    ours = GroupedConv2d(8, 16, 3, dtype=torch.float64, **options)
    assert ours.state_dict().keys() == conv.state_dict().keys()
    for name, parameter in conv.named_parameters():
        assert torch.equal(parameter, ours.get_parameter(name))
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    wanted, found = conv(x), ours(x)
    torch.testing.assert_close(found, wanted)
    grad = torch.randn_like(wanted)
    inputs = [x, *conv.parameters()], [x, *ours.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs[1], grad), torch.autograd.grad(wanted, inputs[0], grad)
    )


def test_loads_pytorchs_weights_and_is_printed_and_copied_as_it():
    conv, ours = nn.Conv2d(4, 6, (1, 3), groups=2), GroupedConv2d(4, 6, (1, 3), groups=2)
    ours.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(copy.deepcopy(ours)(x), conv(x))
    assert str(ours) == str(conv).replace("Conv2d", "GroupedConv2d")


def test_refuses():
    conv = GroupedConv2d(4, 6, 3, groups=2)
    with pytest.raises(ValueError, match=r"weight must have 3 channels \(C / groups\), got shape \[6, 2, 3, 3\]"):
        conv(torch.randn(2, 6, 5, 5))
    with pytest.raises(ValueError, match="groups"):
        GroupedConv2d(4, 6, 3, groups=3)
