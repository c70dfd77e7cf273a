"""More than 2^31 elements between the first and the last: in files with holes, of which a few pages exist."""

import os

import pytest
import torch

from multipath_gcn import _native
from multipath_gcn.ops import ChannelWindows, channel_transform, channel_transform_2d

FAR = 2**30 + 7  # two steps of it are beyond int32, as four are beyond uint32
WINDOWS = ChannelWindows([2, 0, 1, 2], 2, 3)
START, ORDER = WINDOWS.on("cpu")
OPS = torch.ops.multipath_gcn


def spread(values, strides, folder):
    """``values`` in a file, with the given steps between them: those that are 0 by the values' own."""
    steps = [far or own for far, own in zip(strides, values.contiguous().stride(), strict=True)]
    size = 1 + sum((n - 1) * step for n, step in zip(values.shape, steps, strict=True))
    path = folder / f"{len(list(folder.iterdir()))}.bin"
    with path.open("wb") as file:
        file.truncate(size * values.element_size())
    far = torch.from_file(str(path), shared=True, size=size, dtype=values.dtype).as_strided(values.shape, steps)
    return far.copy_(values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("channel_dim", "points", "strides"),
    [
        (-1, (5,), (FAR, 1)),  # rows far apart
        (-1, (5,), (1, FAR)),  # channels far apart
        (1, (5, 2, 3), (FAR, 0, 0, 0)),  # planar images far apart
        (1, (2, 1, 5), (0, FAR, 0, 0)),  # planes far apart
        (1, (5, 1, 3), (FAR, 1, 0, 5)),  # channels-last images far apart
        (1, (2, 1, 3), (3 * FAR, 1, 0, FAR)),  # pixels far apart
    ],
)
def test_indices_beyond_32_bits(channel_dim, points, strides, dtype, tmp_path):
    def input_of(channels):
        shape = (*points, channels) if channel_dim == -1 else (points[0], channels, *points[1:])
        values = torch.randn(shape, dtype=torch.float64).to(dtype)
        return values, spread(values, strides, tmp_path)

    (x, far_x), (grad, far_grad) = input_of(3), input_of(4)
    weight = torch.randn(4, 2, dtype=torch.float64).to(dtype)
    far_weight = spread(weight, (FAR, 1), tmp_path)
    function = channel_transform if channel_dim == -1 else channel_transform_2d
    close = torch.testing.assert_close
    close(function(far_x, far_weight, WINDOWS), function(x, weight, WINDOWS))
    close(
        OPS.channel_transform_input_grad(far_grad, far_weight, START, ORDER, 3, channel_dim),
        OPS.channel_transform_input_grad(grad, weight, START, ORDER, 3, channel_dim),
    )
    close(
        OPS.channel_transform_weight_grad(far_grad, far_x, START, ORDER, 2, channel_dim),
        OPS.channel_transform_weight_grad(grad, x, START, ORDER, 2, channel_dim),
    )


@pytest.mark.skipif(_native.mode() == "reference", reason="the reference holds every product")
@pytest.mark.skipif(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 10 * 2**30, reason="writes 5 GB")
def test_a_result_of_more_elements_than_32_bits_count():
    rows, filters = 2**22 + 8, 2**9 + 1
    windows = ChannelWindows(range(filters), 1, 2)
    x, weight = torch.randn(rows, 2).bfloat16(), torch.randn(filters, 1).bfloat16()
    y = channel_transform(x, weight, windows)
    assert y.numel() > 2**31
    for part in (slice(0, 3), slice(2**31 // filters - 1, 2**31 // filters + 2), slice(rows - 3, rows)):
        assert torch.equal(y[part], x[part][:, windows.start.tolist()] * weight.flatten())
