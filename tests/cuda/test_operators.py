"""The operators of csrc/cuda equal the reference: emulated on the CPU everywhere, and on a GPU where there is one."""

import random

import pytest
import torch
import transforms
from transforms import GROUPS, OVERLAPS, any_windows, assert_exact, cases, check_operators, describe, named_windows

from multipath_gcn.ops.reference import channel_transform as reference
from multipath_gcn.windows import ChannelWindows

DTYPES = (*transforms.DTYPES, torch.float16)


class Elsewhere:
    """Windows whose tensors are asked for on one device and come from another."""

    def __init__(self, windows, device):
        self.windows, self.device = windows, device

    def __getattr__(self, name):
        return getattr(self.windows, name)

    def on(self, _):
        return self.windows.on(self.device)


@pytest.fixture(params=["emulated", "cuda"])
def backend(request, monkeypatch):
    """(operators, device)"""
    monkeypatch.setattr(transforms, "DTYPES", DTYPES)
    if request.param == "cuda":
        return torch.ops.multipath_gcn, request.getfixturevalue("cuda")
    return request.getfixturevalue("emulated_operators"), torch.device("cpu")


def all_equal(backend, windows, monkeypatch, each=3, seed=0):
    (ops, device), pick = backend, random.Random(seed)
    for i, (case, *tensors, channel_dim) in enumerate(cases(windows, each, seed)):
        monkeypatch.setenv("EMULATED_MULTIPROCESSORS", pick.choice(["1", "3", "200"]))  # large, mixed, small tiles
        moved = [t.to(device) for t in tensors]
        try:
            check_operators(ops, reference, Elsewhere(case, device), *moved, channel_dim, relu=bool(i % 2))
        except AssertionError as error:
            x, weight, bias, grad = tensors
            raise AssertionError(describe(case, x, weight, bias, grad, channel_dim)) from error


@pytest.mark.parametrize("groups", GROUPS)
def test_operators_equal_the_reference(backend, groups, monkeypatch):
    windows = [w for overlap in OVERLAPS for w in named_windows(groups, overlap)]
    all_equal(backend, windows, monkeypatch, seed=groups)


def test_any_starts_and_widths_equal_the_reference(backend, monkeypatch):
    all_equal(backend, any_windows(50), monkeypatch)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_a_step_as_users_run_it(backend, dtype, channel_dim):
    """Aligned sizes that fill several large tiles, chunks and parts."""
    ops, device = backend
    windows = ChannelWindows.sliding(192, 160, 4, 0.5)
    points = (300,) if channel_dim == -1 else (5, 8, 8)
    x, grad = (
        torch.randn(*(points[:1]), *points[1:], c, dtype=torch.float64).to(device, dtype).movedim(-1, channel_dim)
        for c in (192, 160)
    )
    x, grad = x.contiguous(), grad.contiguous()
    weight, bias = torch.randn(160, 48).to(device, dtype), torch.randn(160).to(device, dtype)
    check_operators(ops, reference, Elsewhere(windows, device), x, weight, bias, grad, channel_dim)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_a_nan_stays_inside_its_windows(backend, dtype, channel_dim):
    ops, device = backend
    windows = ChannelWindows.sliding(96, 80, 6, 0.25)
    start, order = windows.on(device)
    points = (40,) if channel_dim == -1 else (2, 4, 5)
    x, grad = (torch.randn(*points, c).to(device, dtype).movedim(-1, channel_dim).contiguous() for c in (96, 80))
    for t in (x, grad):
        first, last = t.movedim(channel_dim, -1)[0], t.movedim(channel_dim, -1)[-1]
        first[..., 17], last[..., 60] = float("nan"), float("inf")
    weight = torch.randn(80, 16).to(device, dtype)
    for got, want in (
        (
            ops.channel_transform(x, weight, None, start, order, channel_dim, False),
            reference.channel_transform(x.double(), weight.double(), None, start, order, channel_dim, False),
        ),
        (
            ops.channel_transform_input_grad(grad, weight, start, order, 96, channel_dim),
            reference.channel_transform_input_grad(grad.double(), weight.double(), start, order, 96, channel_dim),
        ),
    ):
        bound = 0.05 if dtype in (torch.bfloat16, torch.float16) else 1e-4
        torch.testing.assert_close(got.double(), want, rtol=bound, atol=bound, equal_nan=True)


def test_emulated_tf32_is_asked_for_by_name(emulated_operators, monkeypatch):
    """On a GPU the variable is read once, when the process begins."""
    windows = ChannelWindows.sliding(64, 48, 4, 0.5)
    start, order = windows.on("cpu")
    x, weight = torch.randn(70, 64), torch.randn(48, 16)
    exact = reference.channel_transform(x.double(), weight.double(), None, start, order, -1, False)
    errors = []
    for value in ("0", "1"):
        monkeypatch.setenv("MULTIPATH_GCN_TF32", value)
        y = emulated_operators.channel_transform(x, weight, None, start, order, -1, False)
        errors.append(float((y - exact).norm() / exact.norm()))
    assert errors[0] < 1e-6 < 1e-4 < errors[1] < 1e-3


def test_an_error_names_argument_rule_and_value(backend):
    ops, device = backend
    start, order = ChannelWindows.grouped(8, 6, 2).on(device)
    x, weight = torch.randn(5, 8, device=device), torch.randn(6, 4, device=device)
    for message, call in {
        r"weight must have shape \[O, K\], got \[6\]": (x, weight[:, 0], None, start, order, -1, False),
        r"start must be contiguous int32 of shape \[6\], got \[5\]": (x, weight, None, start[:5], order, -1, False),
        r"the window width must lie in \[1, 3\], got 4": (x[:, :3], weight, None, start, order, -1, False),
        r"bias must have shape \[6\], got \[2\]": (x, weight, x[0, :2], start, order, -1, False),
        r"x must have shape \[N, C, H, W\], got \[5, 8\]": (x, weight, None, start, order, 1, False),
        r"weight must have the dtype of the input": (x.half(), weight, None, start, order, -1, False),
        r"takes float32, float64, bfloat16 and float16 on CUDA": (x.int(), weight.int(), None, start, order, -1, False),
    }.items():
        with pytest.raises(RuntimeError, match=message):
            ops.channel_transform(*call)


def test_assert_exact_is_strict():
    """The comparison above is not vacuous."""
    start, order = ChannelWindows.grouped(8, 6, 2).on("cpu")
    args = (torch.randn(5, 8), torch.randn(6, 4), None, start, order, -1, False)
    with pytest.raises(AssertionError):
        assert_exact(reference.channel_transform(*args) * 1.00001, reference.channel_transform, *args, terms=5)
