from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.nn import DepthwiseSeparableConv2d, GroupedConv2d
from multipath_gcn.nn.time_fold import TimeFold, check_sequences, dims_of, frame_convolution


def sequences(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_of_two_dimensions_it_is_the_convolution_of_three(frames, kernel_size):
    x = sequences(2, 5, 3, 6, 7)
    fold = TimeFold(3, 4, frames, kernel_size=kernel_size).double()
    weight = fold.convolution.weight.unflatten(1, (frames, 3)).transpose(1, 2)  # [O, C, K, R, S]
    pad = kernel_size // 2
    wanted = F.conv3d(x.transpose(1, 2), weight, fold.convolution.bias, padding=(0, pad, pad)).transpose(1, 2)
    y = fold(x)
    assert y.shape == (2, 6 - frames, 4, 6, 7)
    torch.testing.assert_close(y, wanted)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_of_one_dimension_it_is_the_convolution_of_two(frames):
    x = sequences(2, 5, 3, 1, 9)
    fold = TimeFold(3, 4, frames, dims=1, kernel_size=5).double()
    assert fold.convolution.kernel_size == (1, 5) and fold.convolution.padding == (0, 2)
    weight = fold.convolution.weight.squeeze(2).unflatten(1, (frames, 3)).transpose(1, 2)  # [O, C, K, S]
    wanted = F.conv2d(x.squeeze(3).transpose(1, 2), weight, fold.convolution.bias, padding=(0, 2))
    torch.testing.assert_close(fold(x), wanted.transpose(1, 2).unsqueeze(3))


def test_gradients_are_those_of_the_convolution_of_three():
    x = sequences(2, 4, 2, 3, 4).requires_grad_()
    fold = TimeFold(2, 3, 3).double()
    fold(x).square().sum().backward()
    found = x.grad, fold.convolution.weight.grad
    other, weight = x.detach().clone().requires_grad_(), fold.convolution.weight.detach().clone().requires_grad_()
    filters = weight.unflatten(1, (3, 2)).transpose(1, 2)
    y = F.conv3d(other.transpose(1, 2), filters, fold.convolution.bias.detach(), padding=(0, 1, 1))
    y.square().sum().backward()
    torch.testing.assert_close(found, (other.grad, weight.grad))


@pytest.mark.parametrize("dims", [1, 2])
def test_any_convolution_of_images_reads_the_frames_as_channels(dims):
    make = partial(DepthwiseSeparableConv2d, pointwise="sliding", groups=2, overlap=0.5)
    fold = TimeFold(2, 4, 3, dims, convolution=make).eval().double()
    x = sequences(2, 5, 2, 1 if dims == 1 else 4, 6)
    assert fold.convolution.depthwise.kernel_size == ((1, 3) if dims == 1 else (3, 3))
    y = fold(x)
    for t in range(3):
        torch.testing.assert_close(y[:, t], fold.convolution(torch.cat([x[:, t], x[:, t + 1], x[:, t + 2]], 1)))
    with torch.no_grad():  # the way of inference
        torch.testing.assert_close(fold(x), y)
    windows = fold.convolution.pointwise.windows  # every filter reads parts of two frames, or of three
    assert windows.width == 3 and [int(s) % 6 for s in windows.start] == [0, 2, 4, 0]


def test_a_single_frame_is_left_of_as_many_as_are_folded():
    assert TimeFold(1, 2, 4, dims=1)(torch.randn(3, 4, 1, 1, 8)).shape == (3, 1, 2, 1, 8)


def test_repr():
    assert str(TimeFold(2, 4, 3, dims=1)).startswith("TimeFold(\n  2, 4, frames=3, dims=1\n")
    assert type(frame_convolution(2, 4)) is GroupedConv2d and TimeFold(2, 4, 3, bias=False).convolution.bias is None
    assert isinstance(TimeFold(2, 4, 3, convolution=nn.Conv2d).convolution, nn.Conv2d)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(frames=0), "frames must be an integer of at least 1, got 0"),
        (dict(frames=2.0), "frames must be an integer of at least 1, got 2.0"),
        (dict(frames=True), "frames must be an integer of at least 1, got True"),
        (dict(dims=3), "dims must be 1 or 2, got 3"),
        (dict(kernel_size=4), "kernel_size must be an odd integer of at least 1, got 4"),
        (dict(kernel_size=-1), "kernel_size must be an odd integer of at least 1, got -1"),
        (dict(out_channels=0), "in_channels and out_channels must be at least 1, got 6 and 0"),
    ],
    ids=str,
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimeFold(**dict(in_channels=2, out_channels=4, frames=3) | arguments)


def test_refuses_sequences():
    fold = TimeFold(2, 4, 3)
    with pytest.raises(ValueError, match="x must have at least 3 frames, as many as are folded, got 2"):
        fold(torch.randn(1, 2, 2, 4, 4))
    with pytest.raises(ValueError, match=r"x must be sequences \(N, T, 2, H, W\), got \[1, 5, 3, 4, 4\]"):
        fold(torch.randn(1, 5, 3, 4, 4))
    with pytest.raises(ValueError, match=r"x must be sequences \(N, T, 2, H, W\), got \[5, 2, 4, 4\]"):
        fold(torch.randn(5, 2, 4, 4))
    with pytest.raises(ValueError, match=r"x must be sequences \(N, T, 2, 4, 4\), got \[1, 5, 2, 4, 5\]"):
        check_sequences(torch.randn(1, 5, 2, 4, 5), (2, 4, 4))


def test_dimensions_of_a_frame():
    assert dims_of((1, 8)) == 1 and dims_of([8, 8]) == 2 and dims_of((8, 1)) == 2
    for size in ((8,), (0, 8), (2.5, 1)):
        with pytest.raises(ValueError, match="frame_size must be height and width, each at least 1, got"):
            dims_of(size)
