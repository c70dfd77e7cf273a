import copy
import io
import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from multipath_gcn.nn import (
    ChannelConv2d,
    ChannelLinear,
    GroupedLinear,
    SlidingChannelConv2d,
    SlidingChannelLinear,
)
from multipath_gcn.ops import ChannelWindows

LAYERS = {
    "windows": lambda **options: ChannelLinear(ChannelWindows([5, 0, 11, 5, 3], 7, 12), **options),
    "grouped": lambda **options: GroupedLinear(12, 18, 3, **options),
    "sliding": lambda **options: SlidingChannelLinear(12, 17, 3, Fraction(1, 3), **options),
    "windows2d": lambda **options: ChannelConv2d(ChannelWindows([5, 0, 11, 5, 3], 7, 12), **options),
    "sliding2d": lambda **options: SlidingChannelConv2d(12, 17, 3, "1/3", **options),
}


def example(layer, dtype=None):
    shape = (2, 12, 3, 5) if isinstance(layer, ChannelConv2d) else (2, 3, 12)
    return torch.randn(shape, dtype=dtype)


def by_definition(layer, x):
    """The sum as it is written in the docstrings, channels in front."""
    starts, width = layer.windows.start.tolist(), layer.windows.width
    bias = torch.zeros(len(starts)).to(x) if layer.bias is None else layer.bias
    return torch.stack(
        [
            bias[o] + sum(layer.weight[o, k] * x[(start + k) % layer.in_channels] for k in range(width))
            for o, start in enumerate(starts)
        ]
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_is_its_formula_and_so_are_the_gradients(name, bias):
    layer = LAYERS[name](bias=bias, dtype=torch.float64)
    x = example(layer, torch.float64).requires_grad_()
    channels = 1 if x.dim() == 4 else -1
    expected = by_definition(layer, x.movedim(channels, 0)).movedim(0, channels)
    torch.testing.assert_close(layer(x), expected)
    inputs = [x, *layer.parameters()]
    grad = torch.randn_like(expected)
    theirs = torch.autograd.grad(expected, inputs, grad)
    torch.testing.assert_close(torch.autograd.grad(layer(x), inputs, grad), theirs)


def test_named_windows_are_those_of_the_rule():
    assert GroupedLinear(6, 4, 2).windows.start.tolist() == [0, 0, 3, 3]
    assert SlidingChannelLinear(8, 5, 2, 0.25).windows.start.tolist() == [0, 3, 6, 1, 4]
    assert SlidingChannelLinear(8, 5).windows == ChannelWindows.sliding(8, 5, 2, 0.5)
    assert SlidingChannelConv2d(8, 5).windows == SlidingChannelLinear(8, 5).windows
    assert SlidingChannelConv2d(in_channels=8, out_channels=5, groups=4, overlap=0.5, bias=False).weight.shape == (5, 2)


@pytest.mark.parametrize("name", LAYERS)
def test_starts_as_nn_linear_does(name):
    torch.manual_seed(3)
    layer = LAYERS[name]()
    torch.manual_seed(3)
    theirs = nn.Linear(layer.windows.width, layer.out_channels)
    assert torch.equal(layer.weight, theirs.weight) and torch.equal(layer.bias, theirs.bias)
    bound = layer.windows.width**-0.5
    assert layer.weight.abs().max() <= bound and layer.weight.abs().max() > 0.8 * bound
    layer.reset_parameters()
    assert not torch.equal(layer.weight, theirs.weight) and not torch.equal(layer.bias, theirs.bias)


def test_grouped_and_nn_conv2d_take_each_others_state():
    theirs = nn.Conv2d(12, 18, 1, groups=3)
    ours = GroupedLinear(12, 18, 3)
    x = torch.randn(2, 12, 5, 4)

    ours.load_state_dict(theirs.state_dict())
    assert ours.weight.shape == (18, 4)
    torch.testing.assert_close(ours(x.movedim(1, -1)).movedim(-1, 1), theirs(x))

    ours.reset_parameters()
    theirs.load_state_dict({"weight": ours.weight[..., None, None], "bias": ours.bias})
    torch.testing.assert_close(ours(x.movedim(1, -1)).movedim(-1, 1), theirs(x))


@pytest.mark.parametrize("kind", [SlidingChannelLinear, SlidingChannelConv2d])
@pytest.mark.parametrize(("width_in", "width_out", "groups"), [(12, 18, 3), (8, 8, 8), (6, 4, 1), (10, 20, 2)])
def test_sliding_without_overlap_and_nn_conv2d_take_each_others_state(kind, width_in, width_out, groups):
    theirs = nn.Conv2d(width_in, width_out, 1, groups=groups)
    ours = kind(width_in, width_out, groups, overlap=0)
    p = ours.windows.permutation()
    x = torch.randn(2, width_in, 5, 4)

    def our_output():
        return ours(x) if kind is SlidingChannelConv2d else ours(x.movedim(1, -1)).movedim(-1, 1)

    ours.load_state_dict({name: value[p.argsort()] for name, value in theirs.state_dict().items()})
    torch.testing.assert_close(our_output()[:, p], theirs(x))

    ours.reset_parameters()
    theirs.load_state_dict({"weight": ours.weight[p][..., None, None], "bias": ours.bias[p]})
    torch.testing.assert_close(our_output()[:, p], theirs(x))


def dsxplore_forward(x, weights, groups, overlap):
    """The released kernel's forward, written anew: every start in float32, multiplied from left to right."""
    channels, width = x.shape[1], x.shape[1] // groups
    y = np.zeros((x.shape[0], len(weights), *x.shape[2:]), np.float32)
    for f, row in enumerate(weights):
        start = int(np.floor(np.float32(f) * (np.float32(1) - np.float32(overlap)) * np.float32(width)))
        for k in range(width):
            y[:, f] += row[k] * x[:, (start + k) % channels]
    return y


@pytest.mark.parametrize(
    ("channels", "filters", "groups", "overlap"),
    [(16, 24, 2, 0.5), (16, 40, 2, 0.33), (16, 20, 4, 0.75), (12, 9, 1, 0.25), (20, 70, 2, 0.6), (8, 11, 8, 0.5)],
)
def test_released_dsxplore_weights_give_the_released_forward(channels, filters, groups, overlap):
    weights = torch.randn(filters, channels // groups)
    released = {"weights": weights, "bias": torch.ones(filters)}  # its forward adds no bias
    x = torch.randn(2, channels, 3, 3)
    expected = torch.from_numpy(dsxplore_forward(x.numpy(), weights.numpy(), groups, overlap))

    windows = ChannelWindows.released(channels, filters, groups, overlap)
    layer = ChannelConv2d(windows, bias=False)
    layer.load_state_dict(released)
    torch.testing.assert_close(layer(x), expected)
    rows = ChannelLinear(windows, bias=False)
    rows.load_state_dict({"weight": weights})
    torch.testing.assert_close(rows(x.movedim(1, -1)).movedim(-1, 1), expected)

    network = nn.Sequential(nn.Conv2d(channels, channels, 3, groups=channels), ChannelConv2d(windows, bias=False))
    theirs = {**network[0].state_dict(prefix="0."), "1.weights": weights, "1.bias": torch.ones(filters)}
    network.load_state_dict(theirs)
    assert torch.equal(network[1].weight, weights) and set(theirs) >= {"1.weights", "1.bias"}


def test_released_bias_is_not_taken_for_one_that_is_added():
    layer = ChannelConv2d(ChannelWindows.released(8, 4, 2, 0.5))
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "bias"'):
        layer.load_state_dict({"weights": torch.zeros(4, 4), "bias": torch.ones(4)})


@pytest.mark.parametrize("name", LAYERS)
def test_state_goes_round(name):
    layer, other = LAYERS[name](), LAYERS[name]()
    x = example(layer)
    assert list(layer.state_dict()) == ["weight", "bias"]
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), layer(x))
    with torch.device("meta"):
        empty = LAYERS[name]()
    assert empty.weight.is_meta
    empty.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(empty(x), layer(x)) and isinstance(empty.weight, nn.Parameter)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(again(x), layer(x)) and again.weight is not layer.weight and str(again) == str(layer)


def test_refuses_a_state_of_another_shape():
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        GroupedLinear(12, 18, 3).load_state_dict(nn.Conv2d(12, 18, 3, groups=3).state_dict())
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        GroupedLinear(12, 18, 3).load_state_dict(nn.Linear(12, 18).state_dict())


@pytest.mark.parametrize("name", LAYERS)
def test_moves_between_types_and_devices(name):
    layer = LAYERS[name](dtype=torch.bfloat16, device="cpu")
    assert layer.weight.dtype == layer.bias.dtype == torch.bfloat16
    x = example(layer, torch.bfloat16)
    assert layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(layer(x).double(), layer.double()(x.double()), rtol=2e-2, atol=2e-2)
    meta = LAYERS[name]().to("meta")
    assert meta(example(meta).to("meta")).shape == layer(x.double()).shape
    if torch.cuda.is_available():
        torch.testing.assert_close(layer.cuda()(x.double().cuda()).cpu(), layer.cpu()(x.double()))


def test_moving_a_layer_moves_its_windows(monkeypatch):
    meta = GroupedLinear(12, 18, 3).to("meta")
    monkeypatch.setattr(ChannelWindows, "_place", lambda *_: pytest.fail("the starts were copied at a call"))
    assert meta(torch.empty(5, 12, device="meta")).shape == (5, 18)


@pytest.mark.parametrize("name", LAYERS)
def test_compiles_whole(name):
    layer = LAYERS[name]()
    x = example(layer).requires_grad_()
    y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(y, layer(x))
    inputs = [x, *layer.parameters()]
    found, expected = (torch.autograd.grad(out.square().sum(), inputs) for out in (y, layer(x)))
    torch.testing.assert_close(found, expected)


def test_images_keep_their_memory_format_and_may_be_single():
    layer = SlidingChannelConv2d(12, 17, 3)
    x = torch.randn(2, 12, 6, 5)
    y = layer(x)
    assert y.is_contiguous()
    last = layer(x.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, y)
    torch.testing.assert_close(layer(x[1]), y[1])
    assert layer(x[:0]).shape == (0, 17, 6, 5)


def test_rows_of_any_rank():
    layer = GroupedLinear(12, 6, 2)
    x = torch.randn(2, 3, 12)
    for rows in (x[0, 0], x[0], x, x[:, :0]):
        assert layer(rows).shape == (*rows.shape[:-1], 6)
    torch.testing.assert_close(layer(x)[1, 2], layer(x[1, 2]))


def test_layers_tell_what_they_are():
    assert str(GroupedLinear(6, 4, 2)) == "GroupedLinear(6, 4, groups=2, bias=True)"
    assert (
        str(SlidingChannelLinear(8, 4, bias=False)) == "SlidingChannelLinear(8, 4, groups=2, overlap=0.5, bias=False)"
    )
    assert str(SlidingChannelConv2d(6, 4, 2, "1/3")) == "SlidingChannelConv2d(6, 4, groups=2, overlap=1/3, bias=True)"
    assert str(ChannelLinear(ChannelWindows([0, 2], 3, 4))) == "ChannelLinear(4, 2, width=3, bias=True)"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GroupedLinear(10, 6, 3), r"in_channels \(10\) must be divisible by groups \(3\)"),
        (lambda: GroupedLinear(9, 7, 3), r"out_channels \(7\) must be divisible by groups \(3\)"),
        (lambda: GroupedLinear(8, 4, 0), "groups must be an integer .* got 0"),
        (lambda: GroupedLinear(8, 0, 2), "out_channels must be an integer .* got 0"),
        (lambda: SlidingChannelLinear(-1, 4), "in_channels must be an integer .* got -1"),
        (lambda: SlidingChannelLinear(8, 4, overlap=1.0), r"overlap must be a number in \[0, 1\).* got 1.0"),
        (lambda: SlidingChannelConv2d(8, 4, overlap=float("nan")), r"overlap must be a number in \[0, 1\).* got nan"),
        (lambda: SlidingChannelConv2d(8, 4, groups=3), r"in_channels \(8\) must be divisible by groups \(3\)"),
    ],
)
def test_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(("layer", "x"), [(GroupedLinear(8, 4, 2), (3, 7)), (SlidingChannelConv2d(8, 4), (2, 7, 3, 3))])
def test_refuses_an_input_of_another_width(layer, x):
    with pytest.raises(ValueError, match=r"x must .*8.*, got"):
        layer(torch.zeros(x))
