"""Values and gradients of grouped convolution, against PyTorch's in float64."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from multipath_gcn.ops import conv_geometry, explain_conv2d, grouped_conv2d

# channels, filters, groups, image, kernel, stride, padding, dilation
CASES = {
    "one pixel": (4, 4, 2, (1, 1), (1, 1), 1, 0, 1),
    "pointwise": (6, 9, 3, (5, 7), (1, 1), 1, 0, 1),
    "3x3": (8, 8, 2, (7, 7), (3, 3), 1, 1, 1),
    "depthwise": (7, 7, 7, (11, 13), (3, 3), 1, 1, 1),
    "multiplier": (5, 15, 5, (9, 17), (3, 3), 1, 1, 1),
    "one group": (3, 5, 1, (19, 23), (5, 3), 1, (2, 1), 1),
    "strided": (8, 12, 4, (15, 16), (3, 3), 2, 1, 1),
    "strides differ": (4, 8, 2, (17, 31), (3, 5), (3, 2), (1, 2), 1),
    "stride above kernel": (4, 4, 4, (13, 13), (2, 1), 3, 0, 1),
    "dilated": (6, 6, 3, (14, 14), (3, 3), 1, 2, 2),
    "dilated and strided": (6, 6, 3, (23, 14), (3, 2), (2, 3), (3, 4), (2, 3)),
    "kernel above image": (4, 4, 2, (3, 2), (5, 7), 1, (4, 5), 1),
    "wide": (2, 2, 2, (3, 113), (3, 3), 1, 1, 1),
    "many filters": (4, 26, 2, (6, 6), (3, 3), 1, 1, 1),
    "asymmetric": (4, 4, 2, (8, 9), (2, 4), 1, ((0, 1), (2, 1)), 1),
    "same": (4, 4, 4, (8, 9), (4, 3), 1, "same", (1, 2)),
    "wide group": (40, 6, 2, (7, 9), (3, 3), 1, 1, 1),
    "large": (8, 8, 4, (112, 112), (3, 3), 1, 1, 1),
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}
FORMATS = (torch.contiguous_format, torch.channels_last)


def expected(x, weight, bias, stride, padding, dilation, groups):
    if isinstance(padding, tuple) and isinstance(padding[0], tuple):
        (top, bottom), (left, right) = padding
        x, padding = F.pad(x, (left, right, top, bottom)), 0
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def problem(case, batch=2, dtype=torch.float64, memory_format=torch.contiguous_format):
    channels, filters, groups, image, kernel, *geometry = CASES[case]
    torch.manual_seed(0)
    x = torch.randn(batch, channels, *image, dtype=torch.float64).to(dtype).contiguous(memory_format=memory_format)
    weight = torch.randn(filters, channels // groups, *kernel, dtype=torch.float64).to(dtype)
    return x, weight, torch.randn(filters, dtype=torch.float64).to(dtype), (*geometry, groups)


def close(found, wanted, dtype):
    scale = wanted.abs().max().item() if wanted.numel() else 1
    torch.testing.assert_close(found.double(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * max(scale, 1))


@pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_pytorchs(case, dtype, memory_format):
    x, weight, bias, geometry = problem(case, dtype=dtype, memory_format=memory_format)
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    wide = [t.detach().double().requires_grad_() for t in inputs]
    y, wanted = grouped_conv2d(*inputs, *geometry), expected(*wide, *geometry)
    close(y, wanted, dtype)
    grad = torch.randn_like(wanted)
    found = torch.autograd.grad(y, inputs, grad.to(dtype))
    for ours, theirs in zip(found, torch.autograd.grad(wanted, wide, grad.to(dtype).double()), strict=True):
        close(ours, theirs, dtype)
    if x.shape[2:] != (1, 1):
        assert y.is_contiguous(memory_format=memory_format) and found[0].is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("case", ["3x3", "strided", "dilated and strided", "asymmetric", "multiplier"])
def test_gradients_of_any_order(case):
    x, weight, bias, geometry = problem(case)
    x = x[:, :, :5, :6] if case != "dilated and strided" else x[:, :, :9, :8]
    inputs = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    for activation in (None, "relu"):

        def call(*args, activation=activation):
            return grouped_conv2d(*args, *geometry, activation)

        assert gradcheck(call, inputs)
        assert gradgradcheck(call, inputs)


LAYOUTS = {
    "sliced": lambda x: torch.cat([x, x, x], dim=3)[:, :, :, x.size(3) : 2 * x.size(3)],
    "every other channel": lambda x: x.repeat_interleave(2, dim=1)[:, ::2],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "expanded": lambda x: x[:1].expand_as(x),
    "flipped batch": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout(layout):
    x, weight, bias, geometry = problem("strided", batch=3)
    x = LAYOUTS[layout](x)
    close(grouped_conv2d(x, weight, bias, *geometry), expected(x, weight, bias, *geometry), torch.float64)


def test_relu_bias_and_unbatched():
    x, weight, bias, geometry = problem("3x3")
    wanted = expected(x, weight, bias, *geometry)
    close(grouped_conv2d(x, weight, bias, *geometry, activation="relu"), wanted.relu(), torch.float64)
    close(grouped_conv2d(x[0], weight, None, *geometry), expected(x[0], weight, None, *geometry), torch.float64)


@pytest.mark.parametrize("shape", [(0, 4, 5, 5), (2, 4, 5, 5)])
def test_empty_batches(shape):
    x, weight = torch.randn(shape, requires_grad=True), torch.randn(4, 2, 3, 3, requires_grad=True)
    y = grouped_conv2d(x, weight, padding=1, groups=2)
    assert y.shape == shape
    y.sum().backward()
    assert x.grad.shape == shape and (shape[0] or not weight.grad.any())


def test_bits_do_not_depend_on_the_threads():
    found = []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        x, weight, bias, geometry = problem("large", dtype=torch.float32)
        inputs = [t.requires_grad_() for t in (x, weight, bias)]
        y = grouped_conv2d(*inputs, *geometry)
        found.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
        torch.set_num_threads(before)
    for first, *others in zip(*found, strict=True):
        assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("relu", [False, True])
def test_opcheck(relu):
    x, weight, bias, (stride, padding, dilation, groups) = problem("strided", dtype=torch.float32)
    for t in (x, weight, bias):
        t.requires_grad_()
    args = ([2, 2], [1, 1, 1, 1], [1, 1], groups)
    torch.library.opcheck(torch.ops.multipath_gcn.grouped_conv2d, (x, weight, bias, *args, relu))
    grad = torch.randn_like(grouped_conv2d(x, weight, bias, stride, padding, dilation, groups)).requires_grad_()
    torch.library.opcheck(torch.ops.multipath_gcn.grouped_conv2d_input_grad, (grad, weight, list(x.shape[2:]), *args))
    torch.library.opcheck(torch.ops.multipath_gcn.grouped_conv2d_weight_grad, (grad, x, [3, 3], *args))
    torch.library.opcheck(torch.ops.multipath_gcn.grouped_conv2d_gradients, (grad, x, weight, *args))


@pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
@pytest.mark.parametrize("case", ["strided", "asymmetric", "depthwise"])
def test_both_gradients_in_one_call_are_those_of_two(case, memory_format):
    x, weight, _, (stride, padding, dilation, groups) = problem(case, memory_format=memory_format)
    grad = torch.randn_like(expected(x, weight, None, stride, padding, dilation, groups))
    of = conv_geometry.geometry(x, weight, None, stride, padding, dilation, groups)
    ops = torch.ops.multipath_gcn
    found = ops.grouped_conv2d_gradients(grad, x, weight, *of)
    wanted = (
        ops.grouped_conv2d_input_grad(grad, weight, x.shape[2:], *of),
        ops.grouped_conv2d_weight_grad(grad, x, weight.shape[2:], *of),
    )
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("filters, batch, height, width", [(0, 1, 8, 32), (6, 0, 16, 64), (6, 1, 0, 5), (0, 0, 0, 0)])
def test_nothing_of_something(filters, batch, height, width):
    """Empty in any dimension, at a stride of two that pairs columns: shapes, zeros, and a kernel's name."""
    x = torch.randn(batch, 6, height, width, requires_grad=True)
    weight = torch.randn(filters, 6, 3, 3, requires_grad=True)
    y = grouped_conv2d(x, weight, None, 2, 2)
    assert y.shape == (batch, filters, (height + 1) // 2 + 1, (width + 1) // 2 + 1)
    y.sum().backward()
    assert not x.grad.any() and x.grad.shape == x.shape and not weight.grad.any()
    assert explain_conv2d(x, weight, 2, 2).forward


def test_under_vmap():
    x, weight, _, geometry = problem("strided")
    found = torch.vmap(lambda image: grouped_conv2d(image, weight, None, *geometry))(x)
    torch.testing.assert_close(found, expected(x, weight, None, *geometry))


def test_compiles_into_one_graph():
    x, weight, bias, geometry = problem("strided", dtype=torch.float32)

    def call(x, weight, bias):
        return grouped_conv2d(x, weight, bias, *geometry, "relu")

    torch.testing.assert_close(torch.compile(call, fullgraph=True)(x, weight, bias), call(x, weight, bias))


def test_autocast_acts_as_on_conv2d():
    x, weight, bias, geometry = problem("3x3", dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert grouped_conv2d(x, weight, bias, *geometry).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(groups=3), r"groups must divide both numbers of channels \(8 and 8\), got 3"),
        (dict(groups=0), "groups must be an integer of at least 1, got 0"),
        (dict(groups=4), r"weight must have 2 channels \(C / groups\), got shape \[8, 4, 3, 3\]"),
        (dict(stride=0), "stride must be one or two integers of at least 1, got 0"),
        (dict(stride=(1, 2, 3)), r"stride must be one or two integers of at least 1, got \(1, 2, 3\)"),
        (dict(dilation=0), "dilation must be one or two integers of at least 1, got 0"),
        (dict(padding=-1), "padding must be one or two integers of at least 0, got -1"),
        (dict(padding="half"), 'padding must be "same", "valid" or numbers, got \'half\''),
        (dict(padding="same", stride=2), 'padding must not be "same" with a stride other than 1'),
        (dict(padding=0, dilation=9), r"the kernel must fit the padded height of x \(7\), got an extent of 19"),
        (dict(activation="gelu"), "activation must be None or \"relu\", got 'gelu'"),
        (dict(x=torch.ones(8, 7)), r"x must have shape \[N, C, H, W\] or \[C, H, W\], got \[8, 7\]"),
        (dict(x=torch.ones(2, 8, 7, 7, dtype=torch.int32)), "x must be of type float32, float64 or bfloat16"),
        (dict(x=[1]), "x must be a tensor, got list"),
        (dict(weight=torch.ones(8, 4, 3, 3).double()), "weight must be of the type of x"),
        (dict(weight=torch.ones(8, 4, 0, 3)), "weight must have shape .* with R and S above 0"),
        (dict(bias=torch.ones(7)), r"bias must have shape \[8\], got \[7\]"),
        (dict(bias=torch.ones(8, device="meta")), "bias must be on the device of x"),
    ],
)
def test_refuses(changed, message):
    options = dict(x=torch.ones(2, 8, 7, 7), weight=torch.ones(8, 4, 3, 3), padding=1, groups=2) | changed
    with pytest.raises(ValueError, match=message):
        grouped_conv2d(**options)


def test_the_operator_refuses_what_would_leave_memory():
    x, weight = torch.ones(2, 8, 7, 7), torch.ones(8, 4, 3, 3)
    ops = torch.ops.multipath_gcn
    for call in (
        lambda: ops.grouped_conv2d(x, weight, None, [1, 1], [0] * 4, [1, 1], 3, False),
        lambda: ops.grouped_conv2d(x, weight, None, [1, 1], [0] * 3, [1, 1], 2, False),
        lambda: ops.grouped_conv2d(x, weight, None, [1, 0], [0] * 4, [1, 1], 2, False),
        lambda: ops.grouped_conv2d(x, weight, None, [1, 1], [0] * 4, [4, 1], 2, False),
        lambda: ops.grouped_conv2d(x, weight, torch.ones(3), [1, 1], [0] * 4, [1, 1], 2, False),
        lambda: ops.grouped_conv2d_input_grad(x, weight, [7, 7], [1, 1], [0] * 4, [1, 1], 2),
        lambda: ops.grouped_conv2d_weight_grad(x, x, [3, 3], [1, 1], [0] * 4, [1, 1], 2),
        lambda: ops.grouped_conv2d_gradients(x, x.repeat(1, 2, 1, 1), weight, [1, 1], [1] * 4, [1, 1], 2),
    ):
        with pytest.raises(RuntimeError):
            call()


def test_every_geometry_of_a_small_image():
    """All combinations that fit, of both sizes: values, and gradients by the transposed operators."""
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    for kernel, stride, padding, dilation in itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2)):
        if dilation * (kernel - 1) + 1 > 5 + 2 * padding:
            continue
        weight = torch.randn(4, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
        geometry = (stride, padding, dilation, 2)
        found, wanted = grouped_conv2d(x, weight, None, *geometry), F.conv2d(x, weight, None, *geometry)
        torch.testing.assert_close(found, wanted)
        grad = torch.randn_like(wanted)
        ours, theirs = (torch.autograd.grad(y, (x, weight), grad) for y in (found, wanted))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
@pytest.mark.parametrize("case", CASES)
def test_an_infinity_stays_in_the_sums_that_it_is_part_of(case, memory_format):
    """Vectors run over more than one sum: 0 times infinity must not reach the others."""
    x, weight, _, geometry = problem(case, memory_format=memory_format)
    grad = torch.randn_like(expected(x, weight, None, *geometry))
    for name in ("x", "grad"):
        given = {"x": x.clone(), "grad": grad.clone()}
        height, width = given[name].shape[2:]
        given[name][0, 0, height // 2, width - 1] = torch.inf
        leaves = given["x"].requires_grad_(), weight.clone().requires_grad_()
        y, wanted = grouped_conv2d(*leaves, None, *geometry), expected(*leaves, None, *geometry)
        torch.testing.assert_close(y, wanted, equal_nan=True)
        ours, theirs = (torch.autograd.grad(result, leaves, given["grad"]) for result in (y, wanted))
        torch.testing.assert_close(ours, theirs, equal_nan=True)


@pytest.mark.parametrize(
    "stock", [("y",), ("x",), ("weight",), ("y", "x"), ("x", "weight"), ("y", "x", "weight")], ids=str
)
@pytest.mark.parametrize("case", ["asymmetric", "strided", "multiplier"])
def test_where_pytorchs_operator_computes(case, stock, stock_computes):
    stock_computes(*stock)
    test_values_and_gradients_are_pytorchs(case, torch.float64, torch.contiguous_format)
