import pytest
import torch
from torch import nn

from multipath_gcn.models import ShallowNetwork, count_parameters
from multipath_gcn.models.shallow import CONNECTIVITY
from multipath_gcn.nn import LocalConv2d

ALPHA = 8
REST = 2048 * 192 + 2 * 192 + 192 * 10 + 10  # 8 maps of 16 x 16 -> 24 alpha -> classes
FIRST = {
    "full": 3072 * 2048 + 2 * 2048,
    "local": 256 * 8 * 243 + 2 * 2048,
    "convolution": 8 * 243 + 2 * 8,
}


@pytest.mark.parametrize("connectivity", CONNECTIVITY)
def test_parameters_are_those_counted_by_hand(connectivity):
    model = ShallowNetwork(3, 10, connectivity, ALPHA)
    assert count_parameters(model) == FIRST[connectivity] + REST
    assert model(torch.randn(4, 3, 32, 32)).shape == (4, 10)


def test_each_is_a_case_of_the_next():
    """Weights of a convolution, at every place, are a local layer's; with zeros between, a linear layer's."""
    place = {"convolution": 0, "local": 0, "full": 1}
    conv, local, full = (ShallowNetwork(2, 5, kind, 3, 12)[0][i] for kind, i in place.items())
    assert isinstance(local, LocalConv2d) and isinstance(full, nn.Linear)
    x = torch.randn(4, 2, 12, 12)
    basis = torch.eye(2 * 144).view(-1, 2, 12, 12)
    with torch.no_grad():
        local.weight.copy_(conv.weight.flatten(1).expand_as(local.weight))
        full.weight.copy_(conv(basis).flatten(1).mT)
        for layer in (local, full):
            y = layer(x.flatten(1) if layer is full else x)
            torch.testing.assert_close(y.flatten(1), conv(x).flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"connectivity": "dense"}, r"connectivity must be one of \['full', 'local', 'convolution'\], got 'dense'"),
        ({"alpha": 0}, "alpha must be at least 1, got 0"),
        ({"image_size": 15}, "image_size must be an even number of at least 2, got 15"),
    ],
)
def test_wrong_arguments_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        ShallowNetwork(3, 10, **arguments)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"images must be \(N, 3, 32, 32\), got \[2, 3, 16, 16\]"):
        ShallowNetwork(3, 10)(torch.zeros(2, 3, 16, 16))
