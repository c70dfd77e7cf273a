"""What only a GPU can show: streams, graphs, determinism, no synchronisation, large tensors, gradients, tracing."""

import functools

import pytest
import torch
from on_device import (
    assert_nothing_waits,
    assert_queued_on_the_current_stream,
    assert_runs_where_the_tensors_are,
    assert_same_bits,
    assert_same_bits_every_time,
    captured,
)

from multipath_gcn.ops import ChannelWindows, channel_transform, channel_transform_2d
from multipath_gcn.ops.reference import channel_transform as reference

OPS = torch.ops.multipath_gcn
WINDOWS = ChannelWindows.sliding(96, 80, 4, 0.5)


def example(device, dtype=torch.float32, points=(1000,), windows=WINDOWS):
    """x, weight, bias and grad."""
    new = functools.partial(torch.randn, device=device, dtype=dtype)
    out, width = windows.out_channels, windows.width
    return new(*points, windows.in_channels), new(out, width), new(out), new(*points, out)


def step(x, weight, bias, grad, windows=WINDOWS, channel_dim=-1):
    """The forward and both gradients."""
    start, order = windows.on(x.device)
    return (
        OPS.channel_transform(x, weight, bias, start, order, channel_dim, True),
        OPS.channel_transform_input_grad(grad, weight, start, order, windows.in_channels, channel_dim),
        OPS.channel_transform_weight_grad(grad, x, start, order, windows.width, channel_dim),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("points", [(50000,), (64, 28, 28)])
def test_the_same_bits_every_time(cuda, dtype, points):
    tensors = example(cuda, dtype, points)
    if len(points) == 3:
        tensors = [t.movedim(-1, 1).contiguous() if t.dim() == 4 else t for t in tensors]
    channel_dim = 1 if len(points) == 3 else -1
    assert_same_bits_every_time(functools.partial(step, channel_dim=channel_dim), tensors)


def test_work_is_queued_on_the_current_stream(cuda):
    assert_queued_on_the_current_stream(step, example(cuda), late=(0, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_waits_for_the_device(cuda, dtype):
    tensors = example(cuda, dtype)
    step(*tensors)  # the windows' tensors are copied to the device once
    assert_nothing_waits(step, tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_is_captured_in_a_graph(cuda, dtype):
    x, weight, bias, grad = example(cuda, dtype)
    weight.requires_grad_(), bias.requires_grad_(), x.requires_grad_()

    def train():
        y = channel_transform(x, weight, WINDOWS, bias, activation="relu")
        return (y, *torch.autograd.grad(y, (x, weight, bias), grad))

    graph, results = captured(train)
    for seed in range(3):
        torch.manual_seed(seed)
        with torch.no_grad():
            x.normal_(), weight.normal_(), grad.normal_()
        graph.replay()
        assert_same_bits(results, train())


def test_tensors_of_a_device_that_is_not_current(cuda):
    assert_runs_where_the_tensors_are(step, example)


@pytest.mark.parametrize("layout", ["rows", "planes", "channels_last"])
def test_more_than_two_to_the_31_elements(cuda, layout):
    windows = ChannelWindows.sliding(72, 64, 4, 0.5)
    images, pixels = 32, 1 << 20
    rows, tail = images * pixels, 1000
    if torch.cuda.mem_get_info()[0] < 4 * rows * (72 + 64):
        pytest.skip("too little memory")
    shape = (rows, 72) if layout == "rows" else (images, 72, 1024, 1024)
    x = torch.empty(shape, device=cuda, dtype=torch.bfloat16)
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    x.normal_()
    weight = torch.randn(64, 18, device=cuda, dtype=torch.bfloat16)
    start, order = windows.on(cuda)
    channel_dim = -1 if layout == "rows" else 1
    y = OPS.channel_transform(x, weight, None, start, order, channel_dim, False)
    weight_grad = OPS.channel_transform_weight_grad(y, x, start, order, 18, channel_dim)
    grad = OPS.channel_transform_input_grad(y, weight, start, order, 72, channel_dim)
    assert y.numel() >= 2**31 and x.numel() > 2**31

    def ends(t):  # the first and the last rows
        if layout == "rows":
            return torch.cat([t[:tail], t[-tail:]]).double()
        return torch.cat([t[:1, :, :1, :tail], t[-1:, :, -1:, -tail:]]).movedim(1, -1).flatten(0, 2).double()

    want = reference.channel_transform(ends(x), weight.double(), None, start, order, -1, False)
    torch.testing.assert_close(ends(y), want, rtol=1e-2, atol=2e-2)
    want = reference.channel_transform_input_grad(ends(y), weight.double(), start, order, 72, -1)
    torch.testing.assert_close(ends(grad), want, rtol=1e-2, atol=0.2)
    # sum_n y[n, o] x[n, c] is about rows * weight[o, k]: x is white
    torch.testing.assert_close(weight_grad.float() / rows, weight.float(), rtol=1e-2, atol=1e-2)


def test_gradients_and_second_derivatives(cuda):
    windows = ChannelWindows([5, -3, 0, 100, 2], 3, 7)
    x, weight, bias, _ = (t.requires_grad_() for t in example(cuda, torch.float64, (4,), windows))

    def transform(x, weight, bias):
        return channel_transform(x, weight, windows, bias)

    assert torch.autograd.gradcheck(transform, (x, weight, bias))
    assert torch.autograd.gradgradcheck(transform, (x, weight, bias))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_compile(cuda, dtype):
    x, weight, bias, _ = example(cuda)
    images = torch.randn(2, 96, 5, 5, device=cuda).to(memory_format=torch.channels_last)

    def both(x, images):
        return channel_transform(x, weight, WINDOWS, bias), channel_transform_2d(images, weight, WINDOWS, bias)

    with torch.autocast("cuda", dtype):
        eager = both(x, images)
        compiled = torch.compile(both, fullgraph=True)(x, images)
    for a, b in zip(eager, compiled, strict=True):
        assert a.dtype == b.dtype == dtype and torch.equal(a, b)


def test_opcheck(cuda):
    x, weight, bias, grad = (t.requires_grad_() for t in example(cuda, points=(7,)))
    start, order = WINDOWS.on(cuda)
    torch.library.opcheck(OPS.channel_transform.default, (x, weight, bias, start, order, -1, True))
    torch.library.opcheck(OPS.channel_transform_input_grad.default, (grad, weight, start, order, 96, -1))
    torch.library.opcheck(OPS.channel_transform_weight_grad.default, (grad, x, start, order, WINDOWS.width, -1))


def test_extra_memory(cuda):
    """Beyond its result a call takes the weights laid out anew, or bounded parts of their gradient: no window is made."""
    x, weight, bias, grad = example(cuda, torch.bfloat16, (200_000,))
    start, order = WINDOWS.on(cuda)
    for call, limit in (
        (lambda: OPS.channel_transform(x, weight, bias, start, order, -1, False), 1 << 20),
        (lambda: OPS.channel_transform_input_grad(grad, weight, start, order, 96, -1), 1 << 20),
        (lambda: OPS.channel_transform_weight_grad(grad, x, start, order, WINDOWS.width, -1), 65 << 20),
    ):
        call()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = call()
        peak = torch.cuda.max_memory_allocated() - before
        assert peak - result.nbytes <= limit
