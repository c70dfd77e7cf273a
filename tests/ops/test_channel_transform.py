"""Values, against the reference: each operator on a grid off every tile edge, and the public functions."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transforms
from torch import nn
from torch.nn import functional as F
from transforms import (
    DTYPES,
    GROUPS,
    OVERLAPS,
    any_windows,
    assert_exact,
    cases,
    check_operators,
    describe,
    named_windows,
)

import multipath_gcn
from multipath_gcn import _native
from multipath_gcn.ops import ChannelWindows, channel_transform, channel_transform_2d
from multipath_gcn.ops.reference import channel_transform as reference

OPS = torch.ops.multipath_gcn


def all_equal(windows, each=10, seed=0):
    for i, case in enumerate(cases(windows, each, seed)):
        try:
            check_operators(OPS, reference, *case, relu=bool(i % 2))
        except AssertionError as error:
            raise AssertionError(describe(*case)) from error


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("groups", GROUPS)
def test_operators_equal_the_reference(groups, overlap):
    all_equal(named_windows(groups, overlap), seed=groups + OVERLAPS.index(overlap))


@pytest.mark.parametrize("seed", range(4))
def test_any_starts_and_widths_equal_the_reference(seed):
    all_equal(any_windows(25, seed), seed=seed)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "avx512_bf16"])
def test_every_instruction_set_equals_the_reference(isa):
    if _native.mode() == "reference" or isa not in multipath_gcn.build_info().isas:
        pytest.skip(f"{isa} is not in this build or not on this CPU")
    environment = {**os.environ, "MULTIPATH_GCN_ISA": isa, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, transforms.__file__], capture_output=True, text=True, env=environment)
    assert run.stdout.endswith(f"cases equal the reference with {isa}\n"), run.stderr


def test_threads_of_the_caller_do_not_disturb_each_other():
    """More windows of equal sizes than the library remembers, asked for at once."""
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(40, 24, generator=generator), torch.randn(16, 6, generator=generator)
    every = [ChannelWindows(torch.randint(24, (16,), generator=generator), 6, 24) for _ in range(100)]
    wanted = [reference.channel_transform(x, weight, None, *windows.on("cpu"), -1, False) for windows in every]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: channel_transform(x, weight, every[i % 100]), range(800)))
    for i, y in enumerate(found):
        torch.testing.assert_close(y, wanted[i % 100])


def test_wrong_values_are_seen():
    """Of the comparison itself: an error of one in the last places is too much."""
    windows, x, weight, bias = (
        ChannelWindows.sliding(8, 5, 2, 0.5),
        torch.randn(9, 8),
        torch.randn(5, 4),
        torch.randn(5),
    )
    args = (x, weight, bias, *windows.on("cpu"), -1, False)
    y = reference.channel_transform(*args)
    assert_exact(y, reference.channel_transform, *args, terms=5)
    with pytest.raises(AssertionError, match="from exact"):
        assert_exact(y * (1 + 1e-5), reference.channel_transform, *args, terms=5)


def test_the_reference_is_the_formula():
    windows = ChannelWindows([4, 0, 2], 3, 5)
    x, weight, bias = torch.randn(2, 5), torch.randn(3, 3), torch.randn(3)
    y = torch.tensor(
        [
            [
                sum((weight[o, k] * x[n, (windows.start[o] + k) % 5] for k in range(3)), start=bias[o]).clamp(min=0)
                for o in range(3)
            ]
            for n in range(2)
        ]
    )
    torch.testing.assert_close(channel_transform(x, weight, windows, bias, "relu"), y)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_public_functions_call_the_operator(dtype, activation):
    windows = ChannelWindows.sliding(12, 7, 3, "1/3")
    weight, bias = torch.randn(7, 4, dtype=dtype), torch.randn(7, dtype=dtype)
    x, start = torch.randn(2, 12, 3, 5, dtype=dtype), windows.on("cpu")
    images = channel_transform_2d(x, weight, windows, bias, activation)
    args = (x, weight, bias, *start, 1, activation == "relu")
    assert_exact(images, reference.channel_transform, *args, terms=5)
    rows = channel_transform(x.permute(0, 2, 3, 1), weight, windows, bias, activation)
    torch.testing.assert_close(rows.permute(0, 3, 1, 2), images)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_dense_windows_are_the_stock_operators(deterministic, activation):
    windows = ChannelWindows.dense(6, 4)
    x, weight, bias = torch.randn(3, 6, 2, 5), torch.randn(4, 6), torch.randn(4)
    act = F.relu if activation else lambda y: y
    torch.use_deterministic_algorithms(deterministic)
    try:
        y = channel_transform_2d(x, weight, windows, bias, activation)
        torch.testing.assert_close(y, act(F.conv2d(x, weight[:, :, None, None], bias)))
        rows = x.movedim(1, -1)
        y = channel_transform(rows, weight, windows, bias, activation)
        torch.testing.assert_close(y, act(F.linear(rows, weight, bias)))
        assert channel_transform_2d(x[:, :, :0], weight, windows).shape == (3, 4, 0, 5)
        assert channel_transform(rows[0, 0, 0], weight, windows).shape == (4,)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("points", "channels"), [((1, 2, 2), 512), ((2, 4, 8), 384), ((1, 15, 17), 16), ((1, 16, 16), 16)]
)
def test_dense_windows_are_convolution_whoever_computes_them(points, channels, dtype):
    batch, *size = points
    x = torch.randn(batch, channels, *size, dtype=dtype, requires_grad=True)
    weight = torch.randn(channels, channels, dtype=dtype, requires_grad=True)
    y = channel_transform_2d(x, weight, ChannelWindows.dense(channels, channels))
    grad = torch.randn_like(y)
    wide = [t.detach().double().requires_grad_() for t in (x, weight)]
    expected = F.conv2d(wide[0], wide[1][:, :, None, None])
    pairs = [(y, expected)]
    pairs += zip(
        torch.autograd.grad(y, (x, weight), grad), torch.autograd.grad(expected, wide, grad.double()), strict=True
    )
    for found, wanted in pairs:
        error = (found.double() - wanted).norm() / wanted.norm()
        assert error < (1e-6 if dtype is torch.float32 else 5e-3)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_grouped_windows_are_grouped_convolution(groups):
    conv = nn.Conv2d(12, 18, 1, groups=groups)
    x, weight = torch.randn(2, 12, 4, 5), conv.weight.flatten(1)
    y = channel_transform_2d(x, weight, ChannelWindows.grouped(12, 18, groups), conv.bias)
    torch.testing.assert_close(y, conv(x))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_sliding_without_overlap_is_grouped_convolution_after_the_permutation(groups):
    windows = ChannelWindows.sliding(12, 18, groups, overlap=0)
    permutation = windows.permutation()
    x, weight, bias = torch.randn(2, 12, 4, 5), torch.randn(18, 12 // groups), torch.randn(18)
    grouped = F.conv2d(x, weight[permutation][:, :, None, None], bias[permutation], groups=groups)
    torch.testing.assert_close(channel_transform_2d(x, weight, windows, bias)[:, permutation], grouped)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("windows", [ChannelWindows.dense(6, 4), ChannelWindows.sliding(6, 4, 2, 0.5)], ids=repr)
def test_images_keep_their_memory_format(windows, layout):
    x = torch.randn(2, 6, 3, 5).to(memory_format=layout).requires_grad_()
    y = channel_transform_2d(x, torch.randn(4, windows.width, requires_grad=True), windows)
    assert y.is_contiguous(memory_format=layout)
    y.backward(torch.randn(2, 4, 3, 5).to(memory_format=layout))
    assert x.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_channels_outside_its_window_never_reach_a_filter(dtype, value):
    for windows in [*named_windows(2, 0.33), *named_windows(4, 0.5), *any_windows(10)]:
        start, order = windows.on("cpu")
        channels, (filters, width) = windows.in_channels, (windows.out_channels, windows.width)
        reads = reference._channels(start, width, channels)
        bad = int(torch.randint(channels, ()))
        hit = (reads == bad).any(1)
        weight = torch.ones(filters, width, dtype=dtype)
        x = torch.ones(21, channels, dtype=dtype)
        x[:, bad] = value
        for rows in (x, x.t().contiguous().t()):
            y = OPS.channel_transform(rows, weight, None, start, order, -1, False)
            assert torch.equal(y.isfinite().all(0), ~hit) and torch.equal(y.isfinite().any(0), ~hit)
            grad = torch.ones(21, filters, dtype=dtype)
            of_weight = OPS.channel_transform_weight_grad(grad, rows, start, order, width, -1)
            assert torch.equal(of_weight.isfinite(), reads != bad)
        grad[:, 0] = value
        of_x = OPS.channel_transform_input_grad(grad, weight, start, order, channels, -1)
        finite = torch.ones(channels, dtype=torch.bool)
        finite[reads[0]] = False
        assert torch.equal(of_x.isfinite().all(0), finite)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_keeps_nan(dtype):
    windows = ChannelWindows.sliding(4, 3, 2, 0.5)
    x = torch.full((2, 4), float("nan"), dtype=dtype)
    assert channel_transform(x, torch.ones(3, 2, dtype=dtype), windows, activation="relu").isnan().all()
