"""Channel transforms to test, and how far from exact each may be. Imports neither pytest nor PyG.

As a script it compares every operator with the reference on many cases: ``python transforms.py`` under
MULTIPATH_GCN_ISA=avx2, say. Prints what ran.
"""

import importlib.util
import random
from pathlib import Path

import torch

import multipath_gcn
from multipath_gcn import _native
from multipath_gcn.windows import ChannelWindows

GROUPS = (1, 2, 4, 8, 16)
OVERLAPS = (0, 0.25, 0.33, "1/3", 0.5, 0.75, 0.9)
DTYPES = (torch.float32, torch.bfloat16, torch.float64)
ROWS, IMAGES = -1, 1

# Off every tile edge: (width, filters), with one channel per window, fewer filters than windows, and odd numbers
SIZES = [(1, 3), (1, 37), (3, 5), (13, 67), (5, 131)]
ROW_SHAPES = [(), (0,), (1,), (5,), (53,), (3, 7), (2, 0, 3)]
IMAGE_SHAPES = [(3, 5, 7), (3, 4, 4), (7, 1, 1), (1, 17, 31), (37, 2, 2), (0, 3, 3), (2, 0, 3)]


def contiguous(new, shape):
    return new(*shape)


def channels_last(new, shape):
    return new(shape[0], *shape[2:], shape[1]).movedim(-1, 1) if len(shape) == 4 else new(*shape)


def reversed_dimensions(new, shape):
    return new(*shape[::-1]).permute(*range(len(shape))[::-1])


def cropped(new, shape):
    return contiguous(new, [n + 3 for n in shape])[tuple(slice(1, n + 1) for n in shape)]


def some_channels_last(new, shape):
    return channels_last(new, [n + 3 for n in shape])[tuple(slice(1, n + 1) for n in shape)]


def every_other(new, shape):
    return new(*[2 * n for n in shape])[tuple(slice(None, None, 2) for _ in shape)]


def one_value(new, shape):
    return new(*[1 for _ in shape]).expand(*shape)


def one_row(new, shape):
    return channels_last(new, [1, *shape[1:]]).expand(*shape) if len(shape) > 1 else new(*shape)


MEMORY = (
    contiguous,
    channels_last,
    reversed_dimensions,
    cropped,
    some_channels_last,
    every_other,
    one_value,
    one_row,
)


def source(dtype):
    return lambda *shape: torch.randn(*shape, dtype=torch.float64).to(dtype)


def named_windows(groups, overlap):
    """The windows of one setting at all sizes, and the other kinds that have such groups."""
    for width, filters in SIZES:
        yield ChannelWindows.sliding(width * groups, filters, groups, overlap)
    yield ChannelWindows.released(12 * groups, 29, groups, overlap)
    yield ChannelWindows.grouped(7 * groups, 3 * groups, groups)


def any_windows(count, seed=0):
    """Any starts, any widths, prime numbers of channels."""
    pick = random.Random(seed)
    for _ in range(count):
        channels, filters = pick.choice((2, 7, 13, 31, 67, 101)), pick.choice((1, 5, 17, 31, 43, 97))
        spread = pick.choice((1, 3, channels, 10 * channels))
        start = [pick.randint(-spread, spread) for _ in range(filters)]
        yield ChannelWindows(start, pick.randint(1, channels), channels)


def cases(windows, each=10, seed=0):
    """(windows, x, weight, bias, grad, channel_dim): some types, shapes and layouts in memory for each windows."""
    pick = random.Random(seed)
    for case in windows:
        for _ in range(each):
            channel_dim, new = pick.choice((ROWS, IMAGES)), source(pick.choice(DTYPES))
            points = pick.choice(ROW_SHAPES if channel_dim == ROWS else IMAGE_SHAPES)
            tensors = []
            for channels in (case.in_channels, case.out_channels):
                shape = (*points, channels) if channel_dim == ROWS else (points[0], channels, *points[1:])
                tensors.append(pick.choice(MEMORY)(new, shape))
            weight = pick.choice(MEMORY)(new, (case.out_channels, case.width))
            yield case, tensors[0], weight, pick.choice(MEMORY)(new, (case.out_channels,)), tensors[1], channel_dim


def reference():
    """ops/reference/channel_transform.py by its file: without the package, whose import takes seconds."""
    path = Path(multipath_gcn.__file__).with_name("ops") / "reference" / "channel_transform.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_exact(got, function, first, second, *rest, terms):
    """``got`` is ``function(...)`` of the reference but for the rounding of sums of ``terms`` and of the result."""
    rest = [a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in rest]
    sizes = [a.abs() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in rest]
    first, second = first.double(), second.double()
    exact, largest = function(first, second, *rest), function(first.abs(), second.abs(), *sizes)
    sums = (terms + 4) * torch.finfo(torch.promote_types(got.dtype, torch.float32)).eps
    rounding = torch.finfo(got.dtype)
    bound = sums * largest + rounding.eps * exact.abs() + rounding.tiny
    assert got.shape == exact.shape, f"shape {list(got.shape)} is not {list(exact.shape)}"
    error = (got.double() - exact).abs()
    assert (error <= bound).all(), f"{float(error.nan_to_num(torch.inf).max()):.3g} from exact"


def check_operators(ops, reference, windows, x, weight, bias, grad, channel_dim, relu=False):
    """The forward, also with a packed weight, and both gradients against the reference: values and memory layout."""
    start, order = windows.on("cpu")
    in_channels, out_channels, width = windows.in_channels, windows.out_channels, windows.width

    args = (x, weight, bias, start, order, channel_dim, relu)
    y = ops.channel_transform(*args)
    assert_exact(y, reference.channel_transform, *args, terms=width + 1)
    assert y.is_contiguous(memory_format=reference.memory_format(x, channel_dim))
    packed = ops.channel_transform_pack(weight, start, order, in_channels)
    again = ops.channel_transform_packed(x, packed, bias, start, order, out_channels, width, channel_dim, relu)
    assert_exact(again, reference.channel_transform, *args, terms=width + 1)
    assert again.stride() == y.stride()

    args = (grad, weight, start, order, in_channels, channel_dim)
    grad_x = ops.channel_transform_input_grad(*args)
    assert_exact(grad_x, reference.channel_transform_input_grad, *args, terms=out_channels)
    assert grad_x.is_contiguous(memory_format=reference.memory_format(grad, channel_dim))

    args = (grad, x, start, order, width, channel_dim)
    grad_weight = ops.channel_transform_weight_grad(*args)
    assert_exact(grad_weight, reference.channel_transform_weight_grad, *args, terms=x.numel() // in_channels)
    assert grad_weight.is_contiguous()


def main():
    _native.load()
    torch.manual_seed(0)
    windows = [w for groups in GROUPS for overlap in OVERLAPS for w in named_windows(groups, overlap)]
    windows += any_windows(100)
    definition, count = reference(), 0
    for count, case in enumerate(cases(windows, each=3), 1):
        try:
            check_operators(torch.ops.multipath_gcn, definition, *case, relu=bool(count % 2))
        except AssertionError as error:
            raise AssertionError(describe(*case)) from error
    print(count, "cases equal the reference with", multipath_gcn.build_info().isa)


def describe(windows, x, weight, bias, grad, channel_dim):
    tensors = {"x": x, "weight": weight, "grad": grad}
    layouts = [f"{name} {list(t.shape)} strides {t.stride()}" for name, t in tensors.items()]
    return f"{windows}, {x.dtype}, channel_dim {channel_dim}, {', '.join(layouts)}"


if __name__ == "__main__":
    main()
