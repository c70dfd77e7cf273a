"""Random legal arguments match the reference; random illegal ones raise a ValueError that names one of them."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transforms import DTYPES, MEMORY, assert_exact, check_operators, source

from multipath_gcn.ops import ChannelWindows, channel_transform, channel_transform_2d
from multipath_gcn.ops.reference import channel_transform as reference

quick = settings(max_examples=150, deadline=None, derandomize=True)


@st.composite
def any_windows(draw):
    c = draw(st.integers(1, 70))
    starts = st.integers(-3, 3) | st.integers(0, c - 1) | st.integers()
    return ChannelWindows(draw(st.lists(starts, min_size=1, max_size=40)), draw(st.integers(1, c)), c)


@st.composite
def tensors(draw, windows):
    channel_dim, new = draw(st.sampled_from((-1, 1))), source(draw(st.sampled_from(DTYPES)))
    points = draw(
        st.lists(st.integers(0, 20), max_size=2) if channel_dim == -1 else st.tuples(*[st.integers(0, 9)] * 3)
    )
    memory = st.sampled_from(MEMORY)

    def input_of(c):
        return draw(memory)(new, (*points, c) if channel_dim == -1 else (points[0], c, *points[1:]))

    weight = draw(memory)(new, (windows.out_channels, windows.width))
    bias = draw(memory)(new, (windows.out_channels,))
    return input_of(windows.in_channels), weight, bias, input_of(windows.out_channels), channel_dim


@quick
@given(st.data(), any_windows(), st.booleans())
def test_legal_tensors_match_the_reference(data, windows, relu):
    case = data.draw(tensors(windows))
    check_operators(torch.ops.multipath_gcn, reference, windows, *case, relu=relu)


@quick
@given(st.data(), any_windows(), st.sampled_from([None, "relu"]))
def test_legal_calls_match_the_reference(data, windows, activation):
    x, weight, bias, _, channel_dim = data.draw(tensors(windows))
    bias = bias if data.draw(st.booleans()) else None
    y = (channel_transform if channel_dim == -1 else channel_transform_2d)(x, weight, windows, bias, activation)
    args = (x, weight, bias, *windows.on("cpu"), channel_dim, activation == "relu")
    assert_exact(y, reference.channel_transform, *args, terms=windows.width + 1)


junk = st.one_of(
    st.integers(-2, 12), st.integers(), st.floats(), st.text(max_size=6), st.none(), st.booleans(), st.fractions()
)
overlaps = junk | st.floats(0, 1) | st.fractions(0, 1) | st.sampled_from(["1/3", "0.5", ".25", "1.", "0/7", "7/8"])


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_overlap(value):
    if isinstance(value, bool) or value is None or (isinstance(value, float) and not math.isfinite(value)):
        return False
    try:
        return ("e" not in value.lower() if isinstance(value, str) else True) and 0 <= Fraction(str(value)) < 1
    except (ValueError, ZeroDivisionError):
        return False


@quick
@given(junk, st.integers(1, 9) | junk.filter(lambda v: not is_count(v)), junk, overlaps)
def test_constructors_take_what_is_legal_and_name_what_is_not(in_channels, out_channels, groups, overlap):
    makers = {
        ChannelWindows.dense: (in_channels, out_channels),
        ChannelWindows.grouped: (in_channels, out_channels, groups),
        ChannelWindows.sliding: (in_channels, out_channels, groups, overlap),
        ChannelWindows.released: (in_channels, out_channels, groups, overlap),
    }
    for make, args in makers.items():
        groups = args[2] if len(args) > 2 else 1
        legal = is_count(in_channels) and in_channels < 2**31 and is_count(out_channels) and is_count(groups)
        legal = legal and in_channels % groups == 0
        legal = legal and (make != ChannelWindows.grouped or out_channels % groups == 0)
        legal = legal and (len(args) < 4 or is_overlap(overlap))
        if legal:
            windows = make(*args)
            assert (windows.in_channels, windows.out_channels) == (in_channels, out_channels)
            assert (
                windows.width == in_channels // groups and 0 <= windows.start.min() <= windows.start.max() < in_channels
            )
        else:
            with pytest.raises(ValueError, match=r"(in_channels|out_channels|groups|overlap).* must be "):
                make(*args)


@quick
@given(st.lists(junk, max_size=5) | junk, junk, junk)
def test_windows_take_any_integers_and_name_anything_else(start, width, in_channels):
    integers = isinstance(start, list) and start and all(type(s) is int for s in start)
    if integers and is_count(width) and is_count(in_channels) and width <= in_channels < 2**31:
        assert ChannelWindows(start, width, in_channels).start.tolist() == [s % in_channels for s in start]
    else:
        with pytest.raises(ValueError, match=r"^(start|width|in_channels|the number of starts) must be "):
            ChannelWindows(start, width, in_channels)


shapes = st.lists(st.integers(0, 4), max_size=5)
dtypes = st.sampled_from((*DTYPES, torch.float16, torch.int64, torch.bool, torch.complex64, torch.uint8))
WINDOWS = ChannelWindows.sliding(4, 3, 2, 0.5)


@quick
@given(st.data(), st.sampled_from([channel_transform, channel_transform_2d]))
def test_calls_take_what_is_legal_and_name_what_is_not(data, function):
    right = {"x": [3, 4] if function is channel_transform else [2, 4, 1, 3], "weight": [3, 2], "bias": [3]}
    common, wrong = data.draw(dtypes), data.draw(st.sampled_from([None, "shape", "dtype", "device"]))
    place, given_ = data.draw(st.sampled_from(list(right))), {}
    for name, shape in right.items():
        hit = wrong if name == place else None
        shape = data.draw(shapes) if hit == "shape" else shape
        dtype = data.draw(dtypes) if hit == "dtype" else common
        given_[name] = torch.ones(shape, dtype=dtype, device="meta" if hit == "device" else "cpu")
    x, weight, bias = given_.values()
    dim = -1 if function is channel_transform else 1
    legal = x.dim() == 4 if dim == 1 else x.dim() >= 1
    legal = legal and x.size(dim) == 4 and [list(weight.shape), list(bias.shape)] == [[3, 2], [3]]
    legal = (
        legal
        and x.dtype in DTYPES
        and x.dtype == weight.dtype == bias.dtype
        and x.device == weight.device == bias.device
    )
    if legal:
        assert function(x, weight, WINDOWS, bias).size(dim) == 3
    else:
        with pytest.raises(ValueError, match=r"^(x|weight|bias) must "):
            function(x, weight, WINDOWS, bias)
