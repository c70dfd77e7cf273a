import math

import pytest
import torch
from meshes import turned

from multipath_gcn.nn import GatedNonlinearity, RegularNonlinearity

F64 = torch.float64


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(F64)
    yield
    torch.set_default_dtype(torch.float32)


def deviation(layer, order, angle):
    x = torch.randn(len(angle), 2 * order + 1, 3, generator=torch.Generator().manual_seed(1))
    return (layer(turned(x, angle)) - turned(layer(x), angle)).abs().max()


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_gates_turn_with_the_frames(order):
    assert deviation(GatedNonlinearity(3, order), order, torch.rand(50) * 6) < 1e-12


@pytest.mark.parametrize("order", [1, 2, 3])
def test_samples_turn_with_the_frames_by_their_own_steps(order):
    steps = torch.arange(50) * (2 * math.pi / 9)
    assert deviation(RegularNonlinearity(order, 9), order, steps) < 1e-12


def test_more_samples_deviate_less():
    angle = torch.rand(200) * 6
    found = [deviation(RegularNonlinearity(2, samples), 2, angle) for samples in (5, 7, 15, 31, 101)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.05 and found[-1] < found[0] / 100


def test_without_an_activation_samples_are_the_function_itself():
    x = torch.randn(4, 7, 3)
    torch.testing.assert_close(RegularNonlinearity(3, 7, act=lambda f: f)(x), x)


def test_order_0_is_the_activation_itself():
    x = torch.randn(4, 1, 3)
    torch.testing.assert_close(RegularNonlinearity(0)(x), x.relu())
    torch.testing.assert_close(GatedNonlinearity(3, 0)(x), x.relu())


def test_regular_is_the_fourier_transform_of_the_activated_function():
    x = torch.randn(5)
    angle = torch.arange(7) * (2 * math.pi / 7)
    f = x[0] + sum(x[2 * m - 1] * (m * angle).cos() + x[2 * m] * (m * angle).sin() for m in (1, 2))
    spectrum = torch.fft.rfft(f.relu()) / 7
    y = RegularNonlinearity(2, 7)(x[:, None]).squeeze(1)
    wanted = [spectrum[0].real, *(part for m in (1, 2) for part in (2 * spectrum[m].real, -2 * spectrum[m].imag))]
    torch.testing.assert_close(y, torch.stack(wanted))


def test_is_exact_in_float64_whatever_it_was_made_in():
    torch.set_default_dtype(torch.float32)
    layer = RegularNonlinearity(2, 7).double()
    torch.set_default_dtype(F64)
    assert deviation(layer, 2, torch.arange(50) * (2 * math.pi / 7)) < 1e-12


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"samples must be at least 2 \* order \+ 1 = 5, got 4"):
        RegularNonlinearity(2, 4)
    for layer in (RegularNonlinearity(2), GatedNonlinearity(3, 2)):
        with pytest.raises(ValueError, match=r"x must have shape \(\*, 5, C\) for order 2"):
            layer(torch.zeros(4, 3, 3))
