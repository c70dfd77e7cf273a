import copy
import pickle

import pytest
import torch
from transforms import DTYPES

from multipath_gcn.ops import ChannelWindows, PackedWeight, channel_transform, channel_transform_2d, pack_weight

WINDOWS = ChannelWindows.sliding(6, 5, 2, "1/3")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("windows", [WINDOWS, ChannelWindows.dense(6, 5)], ids=["sliding", "dense"])
def test_a_packed_weight_stands_for_the_weight(windows, dtype):
    x, bias = torch.randn(2, 6, 3, 4, dtype=dtype), torch.randn(5, dtype=dtype)
    weight = torch.randn(5, windows.width, dtype=dtype, requires_grad=True)
    packed = pack_weight(weight, windows)
    assert isinstance(packed, PackedWeight) and not packed.data.requires_grad
    with torch.no_grad():
        y = channel_transform_2d(x, weight, windows, bias, "relu")
        weight.zero_()  # a copy was packed
        torch.testing.assert_close(channel_transform_2d(x, packed, windows, bias, "relu"), y)
    same = ChannelWindows(windows.start, windows.width, 6)
    torch.testing.assert_close(channel_transform_2d(x, copy.deepcopy(packed), same, bias, "relu"), y.detach())


def test_where_no_kernel_packs_the_weight_is_kept_as_it_is():
    packed = pack_weight(torch.empty(3, 5, device="meta").t(), WINDOWS)
    y = channel_transform(torch.empty(4, 6, device="meta"), packed, WINDOWS)
    assert y.is_meta and y.shape == (4, 5) and packed.data.is_contiguous()


def test_autocast_computes_in_the_type_of_the_packed_weight():
    packed = pack_weight(torch.randn(5, 3).bfloat16(), WINDOWS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert channel_transform(torch.randn(4, 6), packed, WINDOWS, torch.randn(5)).dtype is torch.bfloat16


def test_a_packed_weight_is_not_for_storing():
    packed = pack_weight(torch.randn(5, 3), WINDOWS)
    with pytest.raises(TypeError, match="store the weight, and pack it after loading"):
        pickle.dumps(packed)
    assert repr(packed).startswith("PackedWeight(ChannelWindows(start=[0, 2, 4, 0, 2], width=3, in_channels=6), dtype=")


def call(x=None, weight=None, windows=WINDOWS, bias=None):
    packed = pack_weight(torch.randn(5, 3) if weight is None else weight, WINDOWS)
    return channel_transform(torch.randn(4, 6) if x is None else x, packed, windows, bias)


ILLEGAL = {
    r"weight must have shape \[5, 3\], got \[3, 5\]": lambda: call(weight=torch.randn(3, 5)),
    r"weight must be of type .* on cpu, got torch.int64": lambda: call(weight=torch.ones(5, 3).long()),
    r"x must have 6 channels, got shape \[4, 7\]": lambda: call(torch.randn(4, 7)),
    r"x must be like the packed weight \(torch.float32 on cpu\), got torch.float64": lambda: call(
        torch.randn(4, 6).double()
    ),
    r"x must be like the packed weight .* got torch.float32 on meta": lambda: call(torch.randn(4, 6, device="meta")),
    r"bias must have shape \[5\], got \[6\]": lambda: call(bias=torch.randn(6)),
    r"windows must be those that the weight was packed for": lambda: call(windows=ChannelWindows.sliding(6, 5, 2, 0)),
    r"windows must be ChannelWindows, got int": lambda: call(windows=3),
    r"x and bias must not require a gradient": lambda: call(torch.randn(4, 6, requires_grad=True)),
    r"x and bias must not require a gradient with": lambda: call(bias=torch.randn(5, requires_grad=True)),
    r"windows must be ChannelWindows, got str": lambda: pack_weight(torch.randn(5, 3), "dense"),
    r"weight must be a tensor or a PackedWeight, got list": lambda: pack_weight([[1.0]], WINDOWS),
}


@pytest.mark.parametrize("sentence", ILLEGAL)
def test_illegal_arguments_are_named(sentence):
    with pytest.raises(ValueError, match=sentence):
        ILLEGAL[sentence]()
