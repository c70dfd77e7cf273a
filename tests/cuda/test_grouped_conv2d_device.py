"""What only a GPU can show of grouped convolution: streams, graphs, determinism, large tensors, PyTorch's own values."""

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
from torch.nn import functional as F

from multipath_gcn.ops.native import OPS

pytestmark = pytest.mark.usefixtures("our_convolution")
CONV = OPS.grouped_conv2d.default
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
FORMATS = (torch.contiguous_format, torch.channels_last)
both_formats = pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
GEOMETRY = [2, 2], [1, 1, 1, 1], [1, 1]


def example(device, dtype=torch.float32, memory_format=torch.contiguous_format, channels=4, groups=32):
    """x, weight, bias and grad for GEOMETRY."""
    new = functools.partial(torch.randn, device=device, dtype=dtype)
    width = channels * groups
    x, grad = (t.to(memory_format=memory_format) for t in (new(16, width, 56, 56), new(16, width, 28, 28)))
    return x, new(width, channels, 3, 3), new(width), grad


def step(x, weight, bias, grad):
    """The forward and both gradients."""
    geometry = (*GEOMETRY, weight.size(0) // weight.size(1))
    return (
        CONV(x, weight, bias, *geometry, True),
        *OPS.grouped_conv2d_gradients(grad, x, weight, *geometry),
    )


@both_formats
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("stride", [1, 2])
def test_values_and_gradients_are_pytorchs(cuda, stride, channels, dtype, memory_format):
    """Against float64, as far from it as sums in float32 and a result in the type are."""
    width = 128
    x = torch.randn(5, width, 28, 30, device=cuda, dtype=dtype).to(memory_format=memory_format).requires_grad_()
    weight, bias = (
        torch.randn(width, *s, device=cuda, dtype=dtype, requires_grad=True) for s in ((channels, 3, 3), ())
    )
    geometry = [stride] * 2, [1] * 4, [1, 1], width // channels
    y = CONV(x, weight, bias, *geometry, False)
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    wanted = F.conv2d(*wide, stride, 1, 1, width // channels)
    grad = torch.randn_like(wanted).to(dtype)
    found = y, *torch.autograd.grad(y, (x, weight, bias), grad)
    exact = wanted, *torch.autograd.grad(wanted, wide, grad.double())
    for ours, theirs in zip(found, exact, strict=True):
        bound = {torch.float32: 2e-5, torch.float64: 1e-12}.get(dtype, 2 * torch.finfo(dtype).eps)
        error = (ours.double() - theirs).abs().max()
        assert error <= bound * theirs.abs().max()
    assert y.is_contiguous(memory_format=memory_format) and found[1].is_contiguous(memory_format=memory_format)


@both_formats
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 4, 8])
def test_the_same_bits_every_time(cuda, channels, dtype, memory_format):
    assert_same_bits_every_time(step, example(cuda, dtype, memory_format, channels))


def test_work_is_queued_on_the_current_stream(cuda):
    assert_queued_on_the_current_stream(step, example(cuda), late=(0, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_waits_for_the_device(cuda, dtype):
    assert_nothing_waits(step, example(cuda, dtype))


def test_a_training_step_is_captured_in_a_graph(cuda):
    x, weight, bias, grad = example(cuda, torch.bfloat16, torch.channels_last)
    x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()

    def train():
        y = CONV(x, weight, bias, *GEOMETRY, 32, True)
        return (y, *torch.autograd.grad(y, (x, weight, bias), grad))

    graph, results = captured(train)
    for _ in range(3):
        with torch.no_grad():
            x.normal_(), weight.normal_(), grad.normal_()
        graph.replay()
        assert_same_bits(results, train())


def test_tensors_of_a_device_that_is_not_current(cuda):
    assert_runs_where_the_tensors_are(step, example)


def test_gradients_and_second_derivatives(cuda):
    new = functools.partial(torch.randn, device=cuda, dtype=torch.float64, requires_grad=True)

    def call(x, weight, bias):
        return CONV(x, weight, bias, [2, 1], [1, 0, 2, 1], [1, 2], 2, False)

    inputs = new(2, 4, 5, 6), new(6, 2, 3, 2), new(6)
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@both_formats
def test_opcheck(cuda, memory_format):
    x = torch.randn(2, 8, 7, 9, device=cuda).to(memory_format=memory_format).requires_grad_()
    weight, bias = (torch.randn(*s, device=cuda, requires_grad=True) for s in ((12, 2, 3, 3), (12,)))
    geometry = (*GEOMETRY, 4)
    grad = torch.randn_like(CONV(x, weight, bias, *geometry, False)).requires_grad_()
    for relu in (False, True):
        torch.library.opcheck(CONV, (x, weight, bias, *geometry, relu))
    torch.library.opcheck(OPS.grouped_conv2d_input_grad.default, (grad, weight, [7, 9], *geometry))
    torch.library.opcheck(OPS.grouped_conv2d_weight_grad.default, (grad, x, [3, 3], *geometry))


@both_formats
def test_more_than_two_to_the_31_elements(cuda, memory_format):
    shape = (34, 64, 1024, 1024)
    if torch.cuda.mem_get_info()[0] < 8 * 34 * 64 * 2**20:
        pytest.skip("too little memory")
    x = torch.empty(shape, device=cuda, dtype=torch.bfloat16).to(memory_format=memory_format).normal_()
    weight, geometry = torch.randn(64, 4, 3, 3, device=cuda, dtype=torch.bfloat16), ([1, 1], [1] * 4, [1, 1], 16)
    y = CONV(x, weight, None, *geometry, False)
    dx = OPS.grouped_conv2d_input_grad(y, weight, [1024, 1024], *geometry)
    assert y.numel() > 2**31

    def ends(t):  # the first and the last rows of the first and the last image
        return torch.stack([t[0, :, :9, :50], t[-1, :, -9:, -50:]]).double()

    want = F.conv2d(ends(x), weight.double(), None, 1, 1, 1, 16)
    inner = [(0, slice(0, 8), slice(0, 49)), (1, slice(1, 9), slice(1, 50))]  # the other edges are inside the image
    for image, rows, columns in inner:
        got = ends(y)[image, :, rows, columns]
        torch.testing.assert_close(got, want[image, :, rows, columns], rtol=1e-2, atol=1e-2)
    want = torch.nn.grad.conv2d_input((2, 64, 9, 50), weight.double(), ends(y), 1, 1, 1, 16)
    for image, rows, columns in inner:
        got = ends(dx)[image, :, rows, columns]
        torch.testing.assert_close(got, want[image, :, rows, columns], rtol=1e-2, atol=0.5)
    # sum over positions of y[k] x[c] is about their number * weight[k, c]: x is white
    del dx
    dweight = OPS.grouped_conv2d_weight_grad(y, x, [3, 3], *geometry)
    torch.testing.assert_close(dweight.float() / (34 << 20), weight.float(), rtol=2e-2, atol=2e-2)


def test_extra_memory(cuda):
    """Beyond its result a call takes bounded parts of sums: no window is made, and no image is copied."""
    tensors = example(cuda, torch.bfloat16, torch.channels_last)
    step(*tensors)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    results = step(*tensors)
    assert torch.cuda.max_memory_allocated() - before - sum(t.nbytes for t in results) <= 65 << 20
