import copy
import itertools
import pickle
from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from multipath_gcn.ops import (
    ChannelWindows,
    channel_transform_2d,
    grouped_conv2d,
    pack_weight,
    prepack_separable_conv2d,
    separable_conv2d,
)
from multipath_gcn.ops.native import OPS

module = import_module("multipath_gcn.ops.separable_conv2d")  # its function has the same name
FORMATS = (torch.contiguous_format, torch.channels_last)
# batch, channels, height, width, kernel, stride, padding, dilation: off every tile's edge, and both stages apart
CASES = [
    (1, 1, 1, 1, 1, 1, 0, 1),
    (1, 64, 4, 4, 3, 1, 1, 1),
    (2, 96, 2, 2, 3, 1, 1, 1),
    (5, 17, 7, 7, 3, 1, 1, 1),
    (3, 40, 9, 17, 3, 2, 1, 1),
    (1, 33, 31, 29, 3, 1, 1, 1),
    (2, 20, 15, 33, (2, 5), (2, 1), ((0, 1), (2, 1)), 2),
    (4, 8, 61, 5, 3, 3, "valid", 1),
    (1, 260, 23, 37, 5, 1, "same", 1),
    (2, 8, 3, 3, 1, 1, ((0, 0), (0, 0)), 1),
    (1, 4, 2, 3, 3, 2, 4, 1),  # rows of padding alone
]
WINDOWS = {
    "dense": lambda c: ChannelWindows.dense(c, 24),
    "grouped": lambda c: ChannelWindows.grouped(c, 2 * c, c if c % 4 else 4),
    "sliding": lambda c: ChannelWindows.sliding(c, 35, 1 if c % 4 else 4, 0.5),
    "any": lambda c: ChannelWindows([c - 1, 0, 3, 3, c // 2], (c + 1) // 2, c),
}
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 3e-2}


def problem(case, kind, dtype=torch.float32, memory_format=torch.contiguous_format):
    batch, channels, height, width, kernel, *geometry = case
    torch.manual_seed(0)
    windows = WINDOWS[kind](channels)
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    x = torch.randn(batch, channels, height, width).to(dtype).contiguous(memory_format=memory_format)
    weights = torch.randn(channels, 1, *kernel), torch.randn(windows.out_channels, windows.width)
    biases = torch.randn(channels), torch.randn(windows.out_channels)
    depthwise, pointwise, b1, b2 = (t.to(dtype) for t in (*weights, *biases))
    return x, (depthwise, pointwise, windows, b1, b2, *geometry)


def in_turn(x, depthwise, pointwise, windows, b1, b2, stride, padding, dilation, inner=None, activation=None) -> Tensor:
    h = grouped_conv2d(x, depthwise, b1, stride, padding, dilation, windows.in_channels, inner)
    return channel_transform_2d(h, pointwise, windows, b2, activation)


def wide(arguments):
    return [a.double() if isinstance(a, Tensor) else a for a in arguments]


@pytest.fixture
def always_together(monkeypatch):
    monkeypatch.setattr(module, "together_is_faster", lambda x, *_, **__: x.numel() > 0)


@pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_is_the_composition(case, kind, dtype, memory_format, always_together):
    x, given = problem(case, kind, dtype, memory_format)
    for activations in ((None, None), ("relu", "relu")):
        wanted = in_turn(x.double(), *wide(given), *activations)
        packed = prepack_separable_conv2d(*given, *activations)
        scale = max(1.0, wanted.abs().max().item())
        for found in (separable_conv2d(x, *given, *activations), packed(x), packed(x)):
            assert found.dtype is dtype and found.is_contiguous(memory_format=memory_format)
            torch.testing.assert_close(found.double(), wanted, rtol=0, atol=TOLERANCE[dtype] * scale)
        torch.testing.assert_close(packed(x[0]), found[0], rtol=0, atol=TOLERANCE[dtype] * scale)
        assert packed(x[:0]).shape == wanted[:0].shape == separable_conv2d(x[:0], *given).shape


@pytest.mark.parametrize("memory_format", FORMATS, ids=("planar", "channels_last"))
@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_bits_are_those_of_our_two_operators_whatever_the_threads(case, kind, memory_format, always_together):
    x, given = problem(case, kind, torch.float32, memory_format)
    packed, threads, found = prepack_separable_conv2d(*given, "relu"), torch.get_num_threads(), []
    torch.use_deterministic_algorithms(True)  # keeps to our kernels
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(packed(x))
        wanted = in_turn(x, *given, "relu")
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2]) and torch.equal(found[0], wanted)


@torch.no_grad()
def test_many_images_of_every_size(always_together):
    for size, batch, last in itertools.product((1, 2, 5, 8, 14), (1, 2, 16, 33), (False, True)):
        case = (batch, 32, size, size, 3, 1, 1, 1)
        x, given = problem(case, "sliding", memory_format=FORMATS[last])
        torch.testing.assert_close(prepack_separable_conv2d(*given)(x), in_turn(x, *given), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_results_past_the_caches_begin_anywhere_in_a_line(always_together):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        for size in (28, 36, 56):  # planes of whole lines, rows that are not
            x, given = problem((12, 64, size, size, 3, 1, 1, 1), "grouped", dtype)
            scale = (wanted := in_turn(x, *given)).abs().max().item()
            found = prepack_separable_conv2d(*given)(x)
            torch.testing.assert_close(found, wanted, rtol=0, atol=TOLERANCE[dtype] * scale)


@torch.no_grad()
def test_strided_images(always_together):
    x, given = problem((4, 40, 19, 21, 3, 1, 1, 1), "sliding")
    packed = prepack_separable_conv2d(*given)
    large = torch.randn(8, 80, 38, 42)
    for view in (
        large[::2, ::2, ::2, ::2],
        large[:4, :40, :19, :21],
        x.mT.contiguous().mT,
        x[:1].expand(4, -1, -1, -1),
    ):
        torch.testing.assert_close(packed(view), in_turn(view.contiguous(), *given), rtol=1e-4, atol=1e-4)
    last = large.contiguous(memory_format=torch.channels_last)
    for view in (last[:, 3:43, 2:21, 1:22], last[:4, ::2, :19, :21]):
        torch.testing.assert_close(packed(view), in_turn(view.contiguous(), *given), rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_composition():
    x, given = problem((2, 8, 5, 6, 3, 1, 1, 1), "sliding", torch.float64)
    depthwise, pointwise, windows, b1, b2, *options = given
    leaves = [t.requires_grad_() for t in (x, depthwise, pointwise, b1, b2)]

    def call(x, depthwise, pointwise, b1, b2):
        return separable_conv2d(x, depthwise, pointwise, windows, b1, b2, *options, "relu", None)

    assert torch.autograd.gradcheck(call, leaves)
    for leaf in leaves:
        alone = [t if t is leaf else t.detach() for t in leaves]
        (found,) = torch.autograd.grad(call(*alone).sum(), leaf)
        wanted = in_turn(*alone[:3], windows, *alone[3:], *options, "relu")
        torch.testing.assert_close(found, torch.autograd.grad(wanted.sum(), leaf)[0])


@torch.no_grad()
def test_the_operator_by_its_bare_name(always_together):
    x, given = problem((2, 8, 9, 8, 3, 2, 1, 1), "sliding")
    depthwise, pointwise, windows, b1, b2, *_ = given
    start, order = windows.on("cpu")
    packed = module.PACK_CONV(depthwise, [2, 2], [1, 1, 1, 1], [1, 1], 8, False)
    call, last = OPS.separable_conv2d_packed.default, (windows.out_channels, windows.width, 5, 4, True)
    filters = pack_weight(pointwise, windows).data
    arguments = (x, packed, b1, filters, b2, start, order, *last)
    torch.library.opcheck(call, arguments, test_utils=("test_schema", "test_faketensor", "test_autograd_registration"))
    for position, other in (
        (0, x[:, :7]),
        (0, x.double()),
        (1, packed[:-4]),
        (1, module.PACK_CONV(torch.ones(8, 2, 3, 3), [2, 2], [1, 1, 1, 1], [1, 1], 4, False)),
        (2, b1[:-1]),
        (3, filters[:-4]),
        (4, b1),
        (5, start[:-1]),
        (9, 6),
    ):
        with pytest.raises(RuntimeError):
            call(*arguments[:position], other, *arguments[position + 1 :])


@torch.no_grad()
def test_in_one_graph():
    x, given = problem((2, 8, 9, 8, 3, 2, 1, 1), "sliding")
    packed, wanted = prepack_separable_conv2d(*given), in_turn(x, *given)
    for call in (packed, lambda x: separable_conv2d(x, *given)):
        compiled = torch.compile(call, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), wanted)


@torch.no_grad()
def test_autocast():
    x, given = problem((2, 8, 9, 8, 3, 2, 1, 1), "sliding")
    narrow = [a.bfloat16() if isinstance(a, Tensor) else a for a in given]
    with torch.autocast("cpu", torch.bfloat16):
        assert separable_conv2d(x, *given).dtype is torch.bfloat16
        torch.testing.assert_close(
            prepack_separable_conv2d(*narrow)(x), prepack_separable_conv2d(*narrow)(x.bfloat16())
        )
        assert prepack_separable_conv2d(*given)(x.bfloat16()).dtype is torch.float32  # of the packed weight


@torch.no_grad()
def test_holds_copies_and_forgets_plans(monkeypatch):
    monkeypatch.setattr(module, "MOST_PLANS", 3)
    x, given = problem((2, 8, 9, 8, 3, 2, 1, 1), "sliding")
    packed, wanted = prepack_separable_conv2d(*given), in_turn(x, *given)
    for tensor in given:
        if isinstance(tensor, Tensor):
            tensor.zero_()
    for batch in range(8):
        packed(x[:1].expand(batch, -1, -1, -1))
    assert len(packed._plans) <= 3
    torch.testing.assert_close(packed(x), wanted)
    assert torch.equal(copy.deepcopy(packed)(x), packed(x))
    with pytest.raises(TypeError, match="packed weights are of use on this machine only"):
        pickle.dumps(packed)
    assert "PackedConv2d" in repr(packed)


X, GIVEN = problem((2, 8, 9, 8, 3, 2, 1, 1), "sliding")
NAMES = ("depthwise", "pointwise", "windows", "depthwise_bias", "bias", "stride", "padding", "dilation")
REFUSED = [
    (dict(depthwise=torch.ones(8, 2, 3, 3)), r"depthwise must have shape \[8, 1, R, S\], got \[8, 2, 3, 3\]"),
    (dict(depthwise=None), "depthwise must be a tensor, got NoneType"),
    (dict(pointwise=torch.ones(8, 2)), r"pointwise must have shape \[35, 2\], got \[8, 2\]"),
    (
        dict(pointwise=GIVEN[1].double()),
        r"pointwise must be like depthwise \(torch.float32 on cpu\), got torch.float64",
    ),
    (dict(windows=3), "windows must be ChannelWindows, got int"),
    (dict(depthwise_bias=torch.ones(3)), r"bias must (be of shape|have shape) \[8\]"),
    (dict(bias=torch.ones(3)), r"bias must have shape \[35\], got \[3\]"),
    (dict(stride=0), "stride must be one or two integers of at least 1, got 0"),
    (dict(inner_activation="gelu"), "inner_activation must be None or \"relu\", got 'gelu'"),
    (dict(activation="gelu"), "activation must be None or \"relu\", got 'gelu'"),
]


@pytest.mark.parametrize("changed, message", REFUSED)
def test_refuses(changed, message):
    given = dict(zip(NAMES, GIVEN, strict=True)) | changed
    for call in (lambda: separable_conv2d(X, **given), lambda: prepack_separable_conv2d(**given)):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "x, message",
    [
        (X.double(), "x must be like the packed weight"),
        (X[:, :7], "groups must divide both numbers of channels"),
        (X[0, 0], "x must have shape"),
        ([1], "x must be a tensor, got list"),
        (X.clone().requires_grad_(), "x must not require a gradient with a packed weight"),
    ],
)
def test_a_packed_weight_refuses(x, message):
    with pytest.raises(ValueError, match=message):
        prepack_separable_conv2d(*GIVEN)(x)


def test_fake_tensors_pass_without_gradients():
    with FakeTensorMode(), torch.no_grad():
        x, given = problem((2, 32, 64, 64, 3, 1, 1, 1), "sliding")
        assert separable_conv2d(x, *given).shape == (2, given[1].size(0), 64, 64)
