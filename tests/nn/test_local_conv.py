import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.nn import LocalConv2d


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (5, 2, 2), (1, 1, 0)])
def test_shared_filters_make_a_convolution(kernel, stride, padding):
    layer = LocalConv2d(3, 4, kernel, 9, stride, padding).double()
    weight, bias = torch.randn(4, 3, kernel, kernel, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight.flatten(1).expand_as(layer.weight))
        layer.bias.copy_(bias.repeat_interleave(layer.out_size**2))
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.conv2d(x, weight, bias, stride, padding))
    assert layer(x).shape == (2, 4, layer.out_size, layer.out_size)


def test_every_place_has_its_own():
    layer = LocalConv2d(2, 3, 3, 6, padding=1).double()
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    y = layer(x)
    place = 2 * 6 + 4  # row 2, column 4
    alone = F.conv2d(x, layer.weight[place].view(3, 2, 3, 3), padding=1)[:, :, 2, 4] + layer.bias.view(3, 36)[:, place]
    torch.testing.assert_close(y[:, :, 2, 4], alone)
    assert torch.autograd.gradcheck(layer, x.requires_grad_(), fast_mode=True)


def test_it_starts_as_a_convolution_does():
    torch.manual_seed(0)
    layer = LocalConv2d(3, 8, 9, 32, 2, 4)
    bound = (3 * 81) ** -0.5
    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max() <= bound and parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert LocalConv2d(3, 8, 9, 32, bias=False).bias is None
    assert repr(layer) == "LocalConv2d(3, 8, kernel_size=9, image_size=32, stride=2, padding=4, bias=True)"


def test_wrong_input_is_refused():
    with pytest.raises(
        ValueError, match="kernel_size at most image_size \\+ 2 padding, got 3, 8, 9, 1, 0 and image_size 8"
    ):
        LocalConv2d(3, 8, 9, 8)
    with pytest.raises(ValueError, match=r"x must be images \(N, 3, 8, 8\), got \[1, 3, 8, 9\]"):
        LocalConv2d(3, 8, 3, 8)(torch.zeros(1, 3, 8, 9))
