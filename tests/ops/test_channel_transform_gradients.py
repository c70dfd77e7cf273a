import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from multipath_gcn.ops import ChannelWindows, channel_transform, channel_transform_2d

WINDOWS = {
    "sliding": ChannelWindows.sliding(6, 5, 2, "1/3"),
    "grouped": ChannelWindows.grouped(6, 4, 2),
    "one channel": ChannelWindows.sliding(5, 7, 5, 0.9),
    "turned": ChannelWindows([4, 1, 1], 5, 5),
    "dense": ChannelWindows.dense(3, 2),
    "gaps": ChannelWindows([6, 0], 2, 7),
}
INPUTS = {
    "row": lambda c: torch.randn(c, dtype=torch.float64),
    "rows": lambda c: torch.randn(3, c, dtype=torch.float64),
    "planar": lambda c: torch.randn(2, c, 1, 2, dtype=torch.float64),
    "channels-last": lambda c: torch.randn(2, 1, 2, c, dtype=torch.float64).permute(0, 3, 1, 2),
}


def transform(x):
    return channel_transform_2d if x.dim() == 4 else channel_transform


def dense_weight(weight, windows):
    """[O, C] with zeros outside the windows: the same transform by F.linear."""
    channels = (torch.tensor(windows.start.tolist())[:, None] + torch.arange(windows.width)) % windows.in_channels
    return weight.new_zeros(windows.out_channels, windows.in_channels).scatter(1, channels, weight)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", WINDOWS)
def test_gradients_of_first_and_second_order(name, kind, activation):
    windows = WINDOWS[name]
    x = INPUTS[kind](windows.in_channels).requires_grad_()
    weight = torch.randn(windows.out_channels, windows.width, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(windows.out_channels, dtype=torch.float64, requires_grad=True)

    def f(x, weight, bias=None):
        return transform(x)(x, weight, windows, bias, activation)

    assert gradcheck(f, (x, weight, bias))
    assert gradgradcheck(f, (x, weight, bias))
    assert gradgradcheck(f, (x, weight))


@pytest.mark.parametrize("name", ["sliding", "gaps"])
def test_gradients_of_the_gradients_by_their_bare_names(name):
    windows = WINDOWS[name]
    start, order = windows.on("cpu")
    channels, filters, width = windows.in_channels, windows.out_channels, windows.width
    x = torch.randn(3, channels, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(filters, width, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(3, filters, dtype=torch.float64, requires_grad=True)
    ops = torch.ops.multipath_gcn
    calls = [
        (lambda x, w: ops.channel_transform(x, w, None, start, order, -1, False), (x, weight)),
        (lambda g, w: ops.channel_transform_input_grad(g, w, start, order, channels, -1), (grad, weight)),
        (lambda g, x: ops.channel_transform_weight_grad(g, x, start, order, width, -1), (grad, x)),
    ]
    for call, args in calls:
        assert gradcheck(call, args) and gradgradcheck(call, args)


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_the_scattered_dense_transform(name, dtype):
    windows = WINDOWS[name]
    x = torch.randn(37, windows.in_channels, dtype=dtype, requires_grad=True)
    weight = torch.randn(windows.out_channels, windows.width, dtype=dtype, requires_grad=True)
    bias = torch.randn(windows.out_channels, dtype=dtype, requires_grad=True)
    grad = torch.randn(37, windows.out_channels, dtype=dtype)

    got = torch.autograd.grad(channel_transform(x, weight, windows, bias), (x, weight, bias), grad)
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    y = F.linear(wide[0], dense_weight(wide[1], windows), wide[2])
    for result, expected in zip(got, torch.autograd.grad(y, wide, grad.double()), strict=True):
        assert result.dtype is dtype
        torch.testing.assert_close(result, expected.to(dtype))


@pytest.mark.parametrize("kind", ["rows", "planar", "channels-last"])
def test_expanded_gradients(kind):
    windows = WINDOWS["sliding"]
    x = INPUTS[kind](6).requires_grad_()
    weight = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    y = transform(x)(x, weight, windows)
    expected = torch.autograd.grad(y, (x, weight), torch.ones_like(y), retain_graph=True)
    y.sum().backward()
    torch.testing.assert_close((x.grad, weight.grad), expected)


class Calls(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "multipath_gcn":
            self.names.append(function._opname.removeprefix("channel_transform_"))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("of_x", [False, True])
@pytest.mark.parametrize("of_weight", [False, True])
@pytest.mark.parametrize("of_bias", [False, True])
def test_only_the_gradients_asked_for_are_computed_and_only_their_operands_kept(of_x, of_weight, of_bias, activation):
    windows = WINDOWS["sliding"]
    x = torch.randn(4, 6, requires_grad=of_x)
    weight, bias = torch.randn(5, 3, requires_grad=of_weight), torch.randn(5, requires_grad=of_bias)
    y = channel_transform(x, weight, windows, bias, activation)
    assert y.requires_grad == (of_x or of_weight or of_bias)
    if not y.requires_grad:
        return
    kept_x, kept_weight, kept_y = y.grad_fn.saved_tensors
    assert (kept_x is not None, kept_weight is not None, kept_y is not None) == (of_weight, of_x, activation == "relu")
    with Calls() as calls:
        y.sum().backward()
    assert calls.names == ["input_grad"] * of_x + ["weight_grad"] * of_weight
    assert [t.grad is not None for t in (x, weight, bias)] == [of_x, of_weight, of_bias]


@pytest.mark.parametrize("shape", [(0, 6), (2, 0, 6), (0, 6, 2, 2), (2, 6, 0, 3)])
def test_without_rows_the_gradients_are_zero(shape):
    x, windows = torch.randn(shape, requires_grad=True), WINDOWS["sliding"]
    weight, bias = torch.randn(5, 3, requires_grad=True), torch.randn(5, requires_grad=True)
    transform(x)(x, weight, windows, bias, "relu").sum().backward()
    assert x.grad.shape == x.shape
    assert torch.equal(weight.grad, torch.zeros(5, 3)) and torch.equal(bias.grad, torch.zeros(5))


def test_relu_has_the_slope_of_torch_at_zero_and_at_nan():
    values = torch.tensor([-1.0, 0.0, 1.0, float("nan")], requires_grad=True)
    x = torch.stack([torch.zeros(4), values.detach()], 1).requires_grad_()
    channel_transform(x, torch.ones(1, 1), ChannelWindows([1], 1, 2), activation="relu").sum().backward()
    F.relu(values).sum().backward()
    assert torch.equal(x.grad[:, 1], values.grad)


def test_inference_needs_no_gradient_and_leaves_no_trace():
    windows, x = ChannelWindows([0, 1], 2, 3), torch.randn(2, 3)
    weight = torch.randn(2, 2, requires_grad=True)
    with torch.no_grad():
        assert not channel_transform(x, weight, windows).requires_grad
    with torch.inference_mode():
        assert channel_transform(x, weight, windows).is_inference()
    channel_transform(x, weight, windows).sum().backward()  # what the mode left in the cache serves here
    assert weight.grad is not None


@pytest.mark.parametrize("layout", ["rows", "planar", "channels-last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "size",
    [(4, 48, 67, 37, 41), (2, 512, 515, 4, 7), (1, 512, 515, 2, 2)],
    ids=["many points", "weights in place", "few points"],
)
def test_the_bits_do_not_depend_on_the_threads(size, dtype, layout):
    (n, channels, filters, *pixels), results, before = size, [], torch.get_num_threads()
    windows = ChannelWindows.sliding(channels, filters, 2, 0.33)
    shapes = (n, channels, *pixels), (filters, channels // 2), (filters,), (n, filters, *pixels)
    x, weight, bias, grad = (torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes)
    if layout != "planar":
        x, grad = (t.to(memory_format=torch.channels_last) for t in (x, grad))
    if layout == "rows":
        x, grad = (t.permute(0, 2, 3, 1).flatten(0, 2) for t in (x, grad))
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            leaves = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
            y = transform(x)(leaves[0], leaves[1], windows, leaves[2], "relu")
            results.append((y, *torch.autograd.grad(y, leaves, grad)))
    finally:
        torch.set_num_threads(before)
    for name, one, two in zip(("y", "x", "weight", "bias"), *results, strict=True):
        assert torch.equal(one, two), name
