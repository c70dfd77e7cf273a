import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.nn.uneven_conv import UnevenGroupedConv2d

INPUTS = [[0, 1, 2], [5, 2], [4]]  # a run, any order, one alone; channel 3 is read by none, 2 by two


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("geometry", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": (2, 1)}])
def test_it_is_the_dense_convolution_with_zeros(bias, geometry):
    layer = UnevenGroupedConv2d(INPUTS, [2, 3, 1], 3, bias=bias, **geometry).double()
    x = torch.randn(2, 6, 9, 8, dtype=torch.double, requires_grad=True)
    dense, row = torch.zeros(6, 6, 3, 3, dtype=torch.double), 0
    for channels, weight in zip(INPUTS, layer.weights, strict=True):
        dense[row : row + len(weight), channels] = weight.detach()
        row += len(weight)
    torch.testing.assert_close(layer(x), F.conv2d(x, dense, layer.bias, **geometry))
    torch.testing.assert_close(layer(x[0]), layer(x)[0])
    assert torch.autograd.gradcheck(layer, x)


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_come_in_any_order(bias):
    torch.manual_seed(0)
    plain = UnevenGroupedConv2d(INPUTS, [2, 3, 1], 3, bias=bias)
    order = [5, 0, 3, 1, 4, 2]
    layer = UnevenGroupedConv2d(INPUTS, [2, 3, 1], 3, bias=bias, order=order)
    layer.load_state_dict(plain.state_dict())
    if bias:
        layer.bias.data = plain.bias.data[order]
    x = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(layer(x), plain(x)[:, order])
    torch.testing.assert_close(layer(x[0]), plain(x[0])[order])


def test_biases_start_by_the_width_of_their_own_group():
    layer = UnevenGroupedConv2d([range(64), [0]], [100, 100], 1, order=[*range(100, 200), *range(100)])
    assert layer.bias[:100].abs().max() > 1 / 8 >= layer.bias[100:].abs().max()


def test_even_groups_are_a_grouped_convolution():
    layer = UnevenGroupedConv2d([[0, 1], [2, 3]], [3, 3], 3)
    grouped = nn.Conv2d(4, 6, 3, groups=2)
    grouped.load_state_dict({"weight": torch.cat(layer.weights), "bias": layer.bias})
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(layer(x), grouped(x))


def test_weights_start_as_those_of_conv2d():
    layer = UnevenGroupedConv2d([range(64)], [200], 3)
    assert layer.weight0.abs().max() <= 1 / (64 * 9) ** 0.5 and layer.bias.abs().max() <= 1 / (64 * 9) ** 0.5
    assert layer.weight0.abs().max() > 0.9 / (64 * 9) ** 0.5


def test_state_dict_repr_and_export():
    layer = UnevenGroupedConv2d(INPUTS, [2, 3, 1], 3)
    assert set(layer.state_dict()) == {"weight0", "weight1", "weight2", "bias"}
    assert str(layer) == "UnevenGroupedConv2d(3 -> 2, 2 -> 3, 1 -> 1, kernel_size=(3, 3), stride=1, bias=True)"
    x = torch.randn(1, 6, 5, 5)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


@pytest.mark.parametrize(
    ("inputs", "filters", "rule"),
    [
        ([], [], "inputs and filters must have the same length, at least 1, got 0 and 0"),
        ([[0]], [1, 2], "inputs and filters must have the same length, at least 1, got 1 and 2"),
        ([[]], [1], "every group must have channels and filters"),
        ([[-1]], [1], "every group must have channels and filters"),
        ([[0]], [0], "every group must have channels and filters"),
    ],
)
def test_bad_groups_are_refused(inputs, filters, rule):
    with pytest.raises(ValueError, match=rule):
        UnevenGroupedConv2d(inputs, filters, 3)


def test_an_order_is_a_permutation():
    with pytest.raises(ValueError, match=r"order must be a permutation of 0..2, got \[0, 0, 1\]"):
        UnevenGroupedConv2d([[0], [1]], [1, 2], 3, order=[0, 0, 1])
