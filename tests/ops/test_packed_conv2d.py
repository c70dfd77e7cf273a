"""A packed convolution is the convolution: values, what it refuses, what it holds."""

import copy
import pickle

import pytest
import torch

from multipath_gcn.ops import PackedConv2d, conv_geometry, grouped_conv2d, packed_conv2d, prepack_conv2d, stock_conv2d

FORMATS = (torch.contiguous_format, torch.channels_last)
# channels, filters, groups, height, width, kernel, stride, padding, dilation: every kernel, in both formats
CASES = [
    (8, 8, 8, 14, 14, 3, 1, 1, 1),
    (8, 16, 4, 7, 7, 3, 1, 1, 1),
    (24, 12, 3, 9, 17, 3, 2, 1, 1),
    (6, 6, 2, 9, 5, (2, 3), (1, 2), ((0, 1), (2, 1)), 2),
    (40, 20, 2, 5, 6, 1, 1, 0, 1),
    (64, 64, 16, 56, 56, 3, 1, "same", 1),
]


def problem(case, dtype=torch.float32, batch=2):
    channels, filters, groups, height, width, kernel, stride, padding, dilation = case
    torch.manual_seed(0)
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    x = torch.randn(batch, channels, height, width).to(dtype)
    weight = torch.randn(filters, channels // groups, *kernel).to(dtype)
    return x, weight, torch.randn(filters).to(dtype), (stride, padding, dilation, groups)


@pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_values_are_those_of_the_convolution(case, dtype, memory_format):
    x, weight, bias, geometry = problem(case, dtype)
    x = x.contiguous(memory_format=memory_format)
    for b, activation in ((None, None), (bias, "relu")):
        packed = prepack_conv2d(weight, b, *geometry, activation)
        wanted = grouped_conv2d(x, weight, b, *geometry, activation)
        tolerance = {"rtol": 2e-2, "atol": 5e-2} if dtype is torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
        for found in (packed(x), packed(x)):  # planned, and from the plan
            torch.testing.assert_close(found, wanted, **tolerance)
            assert found.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(packed(x[0]), wanted[0], **tolerance)
        assert packed(x[:0]).shape == wanted[:0].shape


@pytest.mark.parametrize("stock", [(), ("y",)], ids=("ours", "PyTorch"))
@pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_adds_a_residual_before_the_activation(case, dtype, memory_format, stock, stock_computes):
    if stock and dtype is torch.float64:
        pytest.skip("float64 is ours: oneDNN has none")
    stock_computes(*stock)
    x, weight, bias, geometry = problem(case, dtype)
    x = x.contiguous(memory_format=memory_format)
    wide = grouped_conv2d(x.double(), weight.double(), bias.double(), *geometry)
    residual = torch.randn(wide.shape).to(dtype)
    tolerance = {"rtol": 2e-2, "atol": 1e-1} if dtype is torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-4}
    for activation in (None, "relu"):
        packed, wanted = prepack_conv2d(weight, bias, *geometry, activation), wide + residual.double()
        wanted = wanted.relu() if activation else wanted
        for given in (residual.contiguous(memory_format=memory_format), residual.mT.contiguous().mT, residual):
            before = given.clone()
            for _ in range(2):  # planned, and from the plan
                found = packed(x, given)
                torch.testing.assert_close(found.double(), wanted, **tolerance)
                assert found.is_contiguous(memory_format=memory_format) and torch.equal(given, before)
        torch.testing.assert_close(packed(x[0], residual[0]).double(), wanted[0], **tolerance)


@torch.no_grad()
def test_a_residual_in_one_graph():
    x, weight, bias, geometry = problem(CASES[0])
    packed, residual = prepack_conv2d(weight, bias, *geometry, "relu"), torch.randn(2, 8, 14, 14)
    compiled = torch.compile(packed, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, residual), packed(x, residual))


@torch.no_grad()
def test_refuses_a_residual_that_does_not_fit():
    x, weight, bias, geometry = problem(CASES[0])
    packed = prepack_conv2d(weight, bias, *geometry)
    y = packed(x)
    for residual, message in (
        (y[:1], r"residual must have the shape of the output, \[2, 8, 14, 14\], got \[1, 8, 14, 14\]"),
        (y.double(), "residual must be like the packed weight"),
        (1.0, "residual must be a tensor, got float"),
    ):
        with pytest.raises(ValueError, match=message):
            packed(x, residual)
    with pytest.raises(ValueError, match="residual must not require a gradient"), torch.enable_grad():
        packed(x, y.requires_grad_())


def test_holds_copies_and_forgets_plans(monkeypatch):
    monkeypatch.setattr(packed_conv2d, "MOST_PLANS", 3)
    x, weight, bias, geometry = problem(CASES[0])
    packed, wanted = prepack_conv2d(weight, bias, *geometry), grouped_conv2d(x, weight, bias, *geometry)
    weight.zero_(), bias.zero_()
    for batch in range(8):
        packed(torch.randn(batch, 8, 14, 14))
    assert len(packed._plans) <= 3
    assert torch.equal(packed(x), wanted)
    assert torch.equal(copy.deepcopy(packed)(x), wanted)
    with pytest.raises(TypeError, match="a packed weight is of use on this machine only"):
        pickle.dumps(packed)
    assert "groups=8" in repr(packed)


@pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_where_pytorchs_operator_computes(case, dtype, memory_format, stock_computes):
    stock_computes("y")
    x, weight, bias, geometry = problem(case, dtype)
    x = x.contiguous(memory_format=memory_format)
    of = conv_geometry.geometry(x, weight, bias, *geometry)
    for b, activation in ((None, None), (bias, "relu")):
        packed = prepack_conv2d(weight, b, *geometry, activation)
        wanted = stock_conv2d.stock_conv2d(x, weight, b, of, activation is not None)
        tolerance = 2e-2 if dtype is torch.bfloat16 else 1e-4
        torch.testing.assert_close(packed(x), wanted, rtol=tolerance, atol=tolerance * wanted.abs().max().item())
        assert packed(x).stride() == wanted.stride()


@torch.no_grad()
def test_deterministic_algorithms_are_ours_whatever_was_planned_before():
    torch.manual_seed(0)
    x, weight = torch.randn(4, 64, 14, 14), torch.randn(64, 64, 3, 3)
    packed = prepack_conv2d(weight, padding=1)
    packed(x)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(packed(x), grouped_conv2d(x, weight, padding=1))
        assert packed._plans[packed_conv2d.plan_key(x)].stock is None
    finally:
        torch.use_deterministic_algorithms(False)


@torch.no_grad()
def test_plans_are_made_once_under_autocast():
    x, weight, bias, geometry = problem(CASES[0])
    packed = prepack_conv2d(weight, bias, *geometry)
    with torch.autocast("cpu", torch.bfloat16):
        y = packed(x.bfloat16())
        plans = dict(packed._plans)
        again = packed(x.bfloat16()), packed(x, y.bfloat16())
    assert y.dtype == torch.float32 and torch.equal(again[0], y)
    assert all(packed._plans[key] is plan for key, plan in plans.items())


def test_autocast_leaves_the_weight_as_it_is():
    x, weight, _, geometry = problem(CASES[1], torch.bfloat16)
    packed = prepack_conv2d(weight, None, *geometry)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(packed(x.float()), packed(x))


@pytest.mark.parametrize(
    "x, message",
    [
        (torch.ones(1, 8, 7, 7).double(), "x must be like the packed weight"),
        (torch.ones(1, 7, 7, 7), r"groups must divide both numbers of channels \(7 and 16\), got 4"),
        (torch.ones(8, 7), "x must have shape"),
        (torch.ones(1, 8, 0, 7), "the kernel must fit the padded height"),
        (torch.ones(1, 8, 7, 7, requires_grad=True), "x must not require a gradient with a packed weight"),
        ([1], "x must be a tensor, got list"),
    ],
)
def test_refuses(x, message):
    _, weight, _, geometry = problem(CASES[1])
    with pytest.raises(ValueError, match=message):
        prepack_conv2d(weight, None, *geometry)(x)


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(weight=torch.ones(4, 2, 3)), "weight must have shape"),
        (dict(weight=torch.ones(4, 2, 3, 3).int()), "weight must be of type"),
        (dict(bias=torch.ones(3)), r"bias must be of shape \[4\]"),
        (dict(groups=3), "groups must divide"),
        (dict(stride=0), "stride must be one or two integers of at least 1, got 0"),
        (dict(activation="gelu"), "activation must be"),
    ],
)
def test_refuses_to_pack(changed, message):
    with pytest.raises(ValueError, match=message):
        prepack_conv2d(**dict(weight=torch.ones(4, 2, 3, 3), groups=2) | changed)


def test_the_operator_refuses_what_it_did_not_pack():
    packed: PackedConv2d = prepack_conv2d(torch.ones(4, 2, 3, 3), groups=2)
    call = torch.ops.multipath_gcn.grouped_conv2d_packed
    x = torch.ones(1, 4, 5, 5)
    for arguments in (
        (x.double(), packed.packed, None, None),
        (x, packed.packed[:64], None, None),
        (x, packed.packed[:-4], None, None),
        (x, torch.ones(9), None, None),
        (x, packed.packed, torch.ones(3), None),
        (x[:, :2], packed.packed, None, None),
        (x, packed.packed, None, torch.ones(1, 4, 3, 4)),
        (x, packed.packed, None, torch.ones(1, 4, 3, 3).double()),
    ):
        with pytest.raises(RuntimeError):
            call(*arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types_that_the_processor_lacks_take_the_plain_operator(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 9, 9, generator=generator).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(6, 8, 3, 3, generator=generator).to(dtype)
    geometry = conv_geometry.geometry(x, weight, None, 1, 1, 1, 1)
    wanted = torch.nn.functional.conv2d(x, weight, padding=1)
    monkeypatch.setattr(stock_conv2d, "reorders", lambda dtype: False)
    assert torch.equal(stock_conv2d.frozen_stock_conv2d(x, weight, None, geometry, False)(x, None), wanted)
