"""Gradients of which few rows differ from 0: the kernels compute with these alone."""

import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.ops import ChannelWindows, channel_transform

OPS = torch.ops.multipath_gcn
ROWS = 300
FEW = {
    "none": [],
    "first": [0],
    "last": [ROWS - 1],
    "some": [3, 17, 18, 200, 299],
    "a quarter": list(range(0, ROWS, 4)),
}


def few_grad(rows, channels, dtype=torch.float64):
    grad = torch.zeros(ROWS, channels, dtype=dtype)
    grad[rows] = torch.randn(len(rows), channels, dtype=dtype)
    return grad


WINDOWS = {
    "dense": ChannelWindows.dense(40, 24),
    "grouped": ChannelWindows.grouped(40, 24, 4),
    "sliding": ChannelWindows.sliding(40, 24, 2, "1/3"),
}


def gradients(x, weight, bias, windows, activation, grad, create_graph=False):
    y = channel_transform(x, weight, windows, bias, activation)
    return torch.autograd.grad(y, (x, weight, bias), grad, create_graph=create_graph)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("rows", FEW.values(), ids=FEW)
@pytest.mark.parametrize("name", WINDOWS)
def test_gradients_are_those_of_all_rows(name, rows, activation):
    windows = WINDOWS[name]
    x = torch.randn(ROWS, 40, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(24, windows.width, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(24, dtype=torch.float64, requires_grad=True)
    grad = few_grad(rows, 24)
    got = gradients(x, weight, bias, windows, activation, grad)
    channels = (torch.tensor(windows.start.tolist())[:, None] + torch.arange(windows.width)) % 40
    y = F.linear(x, weight.new_zeros(24, 40).scatter(1, channels, weight), bias)
    expected = torch.autograd.grad(y if activation is None else y.relu(), (x, weight, bias), grad)
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two)
    assert torch.equal(got[0] != 0, expected[0] != 0)
    for one, two in zip(got, gradients(x, weight, bias, windows, activation, grad, create_graph=True), strict=True):
        torch.testing.assert_close(one, two)  # of which there are gradients


def test_bare_gradients_skip_rows_of_zeros():
    windows = WINDOWS["sliding"]
    start, order = windows.on("cpu")
    x, weight, grad = torch.randn(ROWS, 40), torch.randn(24, windows.width), few_grad(FEW["some"], 24, torch.float32)
    x[0] = float("inf")  # where the gradient is zero
    dx = OPS.channel_transform_input_grad(grad, weight, start, order, 40, -1)
    dweight = OPS.channel_transform_weight_grad(grad, x, start, order, windows.width, -1)
    few = torch.tensor(FEW["some"])
    part = OPS.channel_transform_input_grad(grad[few], weight, start, order, 40, -1)
    torch.testing.assert_close(dx, torch.zeros(ROWS, 40).index_copy(0, few, part))
    expected = OPS.channel_transform_weight_grad(grad[few], x[few], start, order, windows.width, -1)
    torch.testing.assert_close(dweight, expected)


@pytest.mark.parametrize("name", WINDOWS)
def test_the_same_bits_for_any_number_of_threads(name):
    windows = WINDOWS[name]
    x, weight, bias = torch.randn(3000, 40), torch.randn(24, windows.width), torch.randn(24)
    grad = torch.zeros(3000, 24).index_copy(0, torch.arange(0, 3000, 7), torch.randn(429, 24))
    given, results = torch.get_num_threads(), []
    torch.use_deterministic_algorithms(True)  # else dense windows may be PyTorch's product, which promises less
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
            results.append([*gradients(*leaves, windows, "relu", grad)])
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(given)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_batched_gradients_take_the_usual_way():
    x = torch.randn(ROWS, 40, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(24, 40, dtype=torch.float64, requires_grad=True)
    y = channel_transform(x, weight, ChannelWindows.dense(40, 24))
    grads = torch.stack([few_grad(FEW["some"], 24), few_grad([1], 24)])
    (got,) = torch.autograd.grad(y, weight, grads, is_grads_batched=True)
    torch.testing.assert_close(got, grads.mT @ x.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("layout", ["rows", "strided rows", "image"])
@pytest.mark.parametrize("channels", [24, 64, 150])
def test_kernels_take_few_rows_of_any_width_type_and_layout(channels, layout, dtype):
    """Against the same with a small value in every row, which is left out again."""
    windows = ChannelWindows.sliding(40, channels, 2, "1/3")
    start, order = windows.on("cpu")
    weight = torch.randn(channels, windows.width).to(dtype)
    x, grad = torch.randn(ROWS, 40).to(dtype), torch.full((ROWS, channels), -0.0, dtype=dtype)
    grad[[0, 7, 299], -1] = torch.tensor([1.0, -2.0, 3.0], dtype=dtype)  # the last channel alone
    rows = torch.tensor([0, 7, 299])
    few_dx = OPS.channel_transform_input_grad(grad[rows], weight, start, order, 40, -1)
    few_dweight = OPS.channel_transform_weight_grad(grad[rows], x[rows], start, order, windows.width, -1)
    dim = -1
    if layout == "strided rows":
        x, grad = (torch.cat([t, t], dim=1)[:, : t.size(1)] for t in (x, grad))
    elif layout == "image":
        x, grad = (t.view(1, 15, 20, -1).permute(0, 3, 1, 2) for t in (x, grad))
        dim = 1
    dx = OPS.channel_transform_input_grad(grad, weight, start, order, 40, dim)
    dx = dx if dim == -1 else dx.permute(0, 2, 3, 1).reshape(ROWS, 40)
    near = 1e-2 if dtype is torch.bfloat16 else 1e-5
    torch.testing.assert_close(dx[rows], few_dx, rtol=near, atol=near)
    assert not dx[1:7].any() and not dx[8:299].any()
    dweight = OPS.channel_transform_weight_grad(grad, x, start, order, windows.width, dim)
    torch.testing.assert_close(dweight, few_dweight, rtol=near, atol=near)
