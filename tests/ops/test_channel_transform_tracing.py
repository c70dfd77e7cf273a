"""What is not plain eager: opcheck, fake and meta tensors, torch.compile, torch.export, autocast."""

import io

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck
from torch.nn import functional as F
from transforms import IMAGES, MEMORY, ROWS, channels_last, contiguous, cropped, reversed_dimensions, source

from multipath_gcn.ops import ChannelWindows, channel_transform, channel_transform_2d, pack_weight

OPS = torch.ops.multipath_gcn
WINDOWS = ChannelWindows.sliding(6, 5, 2, "1/3")
DENSE = ChannelWindows.dense(6, 5)


@pytest.fixture(autouse=True)
def _forget():
    yield
    torch._dynamo.reset()


def leaves(windows=WINDOWS, dtype=torch.float32):
    shapes = (windows.out_channels, windows.width), (windows.out_channels,)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(
    ("channel_dim", "points", "memory"),
    [
        (ROWS, (4,), contiguous),
        (ROWS, (2, 3), reversed_dimensions),
        (ROWS, (0,), contiguous),
        (IMAGES, (2, 3, 2), contiguous),
        (IMAGES, (2, 3, 2), channels_last),
        (IMAGES, (2, 2, 3), cropped),
    ],
)
def test_opcheck(channel_dim, points, memory):
    def input_of(channels):
        shape = (*points, channels) if channel_dim == ROWS else (points[0], channels, *points[1:])
        return memory(source(torch.float32), shape).requires_grad_()

    x, grad, (weight, bias), (start, order) = input_of(6), input_of(5), leaves(), WINDOWS.on("cpu")
    opcheck(OPS.channel_transform.default, (x, weight, bias, start, order, channel_dim, True))
    opcheck(OPS.channel_transform_input_grad.default, (grad, weight, start, order, 6, channel_dim))
    opcheck(OPS.channel_transform_weight_grad.default, (grad, x, start, order, 3, channel_dim))
    x, weight, bias = x.detach(), weight.detach(), bias.detach()
    opcheck(OPS.channel_transform.default, (x, weight, None, start, order, channel_dim, False))
    packed = OPS.channel_transform_pack(weight, start, order, 6)
    opcheck(OPS.channel_transform_packed.default, (x, packed, bias, start, order, 5, 3, channel_dim, True))


def test_opcheck_of_packing():
    opcheck(OPS.channel_transform_pack.default, (torch.randn(5, 3), *WINDOWS.on("cpu"), 6))


@pytest.mark.parametrize("memory", MEMORY, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "shape", [(2, 6, 3, 4), (1, 6, 2, 2), (3, 6, 1, 1), (3, 6, 1, 4), (2, 1, 3, 4), (0, 6, 2, 2), (2, 6)]
)
def test_a_trace_knows_the_memory_layout(shape, memory):
    windows = ChannelWindows([0, 1, 0], 1, shape[1])
    function = channel_transform if len(shape) == 2 else channel_transform_2d
    x, weight = memory(source(torch.float32), shape), torch.randn(3, 1)
    y = function(x, weight, windows)
    with FakeTensorMode() as mode:
        traced = function(mode.from_tensor(x), mode.from_tensor(weight), windows)
    assert traced.shape == y.shape and traced.dtype == y.dtype
    assert strides(traced) == strides(y)


def strides(tensor):
    """Those that matter: of dimensions in which there is a step to make."""
    steps = [s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1]
    return steps if tensor.numel() else []


@pytest.mark.parametrize("windows", [WINDOWS, DENSE], ids=["sliding", "dense"])
def test_fake_tensors_of_any_device(windows):
    fresh = ChannelWindows(windows.start, windows.width, windows.in_channels)
    with FakeTensorMode():
        for device in ("cuda:0", "meta", "cpu"):
            x, weight = torch.empty(4, 6, device=device), torch.empty(5, windows.width, device=device)
            y = channel_transform(x, weight, fresh)
            assert (y.shape, y.device) == ((4, 5), torch.device(device))
        channel_transform(x, weight.requires_grad_(), fresh).sum().backward()
        assert weight.grad.shape == weight.shape
    y = channel_transform(x, weight, fresh)  # fake tensors after the end of their mode
    assert y.shape == (4, 5)
    assert all(type(t) is torch.Tensor for placed in fresh._placed.values() for t in placed)


@pytest.mark.parametrize("windows", [WINDOWS, DENSE], ids=["sliding", "dense"])
def test_meta_tensors(windows):
    x = torch.empty(2, 6, 3, 3, device="meta", requires_grad=True)
    weight, bias = (t.detach().to("meta").requires_grad_() for t in leaves(windows))
    y = channel_transform_2d(x, weight, windows, bias, "relu")
    y.sum().backward()
    assert y.is_meta and y.shape == (2, 5, 3, 3)
    assert [t.grad.shape for t in (x, weight, bias)] == [t.shape for t in (x, weight, bias)]


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("windows", [WINDOWS, DENSE], ids=["sliding", "dense"])
@pytest.mark.parametrize("function", [channel_transform, channel_transform_2d])
def test_compile(function, windows, activation, dynamic):
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for n in (3, 7):
        x = torch.randn(n, 6) if function is channel_transform else torch.randn(n, 6, 2, 3)
        inputs = x.requires_grad_(), *leaves(windows)
        results = []
        for f in (function, compiled):
            y = f(inputs[0], inputs[1], windows, inputs[2], activation)
            results.append((y, *torch.autograd.grad(y.square().sum(), inputs)))
        torch.testing.assert_close(*results)


def test_compile_tells_windows_apart():
    compiled = torch.compile(channel_transform, fullgraph=True, backend="aot_eager")
    x, (weight, _) = torch.randn(4, 6), leaves()
    other = ChannelWindows([5, 4, 3, 2, 1], 3, 6)
    for windows in (WINDOWS, other, WINDOWS):
        torch.testing.assert_close(compiled(x, weight, windows), channel_transform(x, weight, windows))


def test_compile_with_a_packed_weight():
    compiled = torch.compile(channel_transform, fullgraph=True, backend="aot_eager")
    x, (weight, bias) = torch.randn(4, 6), leaves()
    packed = pack_weight(weight, WINDOWS)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, packed, WINDOWS, bias), channel_transform(x, weight, WINDOWS, bias))


@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_keeps_the_sentence_of_an_error(dynamic):
    compiled = torch.compile(channel_transform, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    weight, bias = leaves()
    calls = {
        "x must have 6 channels, got shape [4, 7]": (torch.randn(4, 7), weight, WINDOWS),
        "weight must have shape [5, 3], got [3, 5]": (torch.randn(4, 6), weight.t(), WINDOWS),
        "weight must be of the type of x (torch.float64), got torch.float32": (
            torch.randn(4, 6).double(),
            weight,
            WINDOWS,
        ),
        "bias must have shape [5], got [4]": (torch.randn(4, 6), weight, WINDOWS, bias[:4]),
        "x must be of type float32, float64, bfloat16 on cpu, got torch.int64": (
            torch.ones(4, 6).long(),
            weight,
            WINDOWS,
        ),
        "activation must be None or \"relu\", got 'tanh'": (torch.randn(4, 6), weight, WINDOWS, None, "tanh"),
    }
    for sentence, args in calls.items():
        with pytest.raises(ValueError) as eager:
            channel_transform(*args)
        with pytest.raises(Exception) as traced:  # its type is the tracer's own
            compiled(*args)
        assert sentence in str(eager.value) and sentence in str(traced.value).replace("\\'", "'")


class Model(nn.Module):
    def __init__(self, windows):
        super().__init__()
        self.windows, (self.weight, self.bias) = windows, map(nn.Parameter, leaves(windows))

    def forward(self, x):
        return channel_transform(x, self.weight, self.windows, self.bias, "relu")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("windows", [WINDOWS, DENSE], ids=["sliding", "dense"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_export(windows, strict):
    model, stored = Model(windows), io.BytesIO()
    sizes = ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(model, (torch.randn(4, 6),), dynamic_shapes=sizes, strict=strict), stored)
    stored.seek(0)
    program, x = torch.export.load(stored), torch.randn(9, 6)
    torch.testing.assert_close(program.module()(x), model(x))
    torch.testing.assert_close(program.run_decompositions().module()(x), model(x))


@pytest.mark.parametrize("windows", [WINDOWS, DENSE], ids=["sliding", "dense"])
@pytest.mark.parametrize("types", [(torch.float32, torch.float32), (torch.bfloat16, torch.float32)])
def test_autocast_is_that_of_linear(windows, types):
    x = torch.randn(4, 6).to(types[0]).requires_grad_()
    weight, bias = leaves(windows, types[1])
    stock = torch.randn(5, 6, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, expected = channel_transform(x, weight, windows, bias), F.linear(x, stock, bias)
        assert y.dtype is expected.dtype is torch.bfloat16
        rounded = (t.detach().bfloat16() for t in (x, weight, bias))
        x2, weight2, bias2 = rounded
        assert torch.equal(y, channel_transform(x2, weight2, windows, bias2))
    y.float().sum().backward()
    assert x.grad.dtype is types[0] and weight.grad.dtype is bias.grad.dtype is types[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):  # double is left alone there, and so here
        assert channel_transform(x.double(), weight.double(), windows).dtype is torch.float64
        assert F.linear(x.double(), stock.double()).dtype is torch.float64


@pytest.mark.parametrize("windows", [WINDOWS, DENSE], ids=["sliding", "dense"])
def test_compiled_autocast(windows):
    def f(x, weight, bias):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return channel_transform(x, weight, windows, bias)

    x, (weight, bias) = torch.randn(4, 6), leaves(windows)
    y = torch.compile(f, fullgraph=True, backend="aot_eager")(x, weight, bias)
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y, f(x, weight, bias))
