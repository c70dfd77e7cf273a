"""Grouped convolution of NumPy arrays against its definition in float64. Uses no torch; as a script it runs :func:`main`,
under MULTIPATH_GCN_ISA=avx2, say."""

import os
import subprocess
import sys
import threading
import time
from itertools import product

import numpy as np
import pytest

from multipath_gcn import _kernels
from multipath_gcn.conv_geometry import geometry_of
from multipath_gcn.kernels import grouped_conv2d

# channels, filters, groups, image, kernel, stride, padding, dilation
CASES = [
    (4, 4, 2, (1, 1), (1, 1), 1, 0, 1),
    (6, 9, 3, (5, 7), 1, 1, 0, 1),
    (8, 8, 2, (7, 7), 3, 1, 1, 1),
    (7, 7, 7, (11, 13), 3, 1, 1, 1),
    (5, 15, 5, (9, 17), 3, 1, "same", 1),
    (3, 5, 1, (19, 23), (5, 3), 1, (2, 1), 1),
    (8, 12, 4, (15, 16), 3, 2, 1, 1),
    (4, 8, 2, (17, 31), (3, 5), (3, 2), (1, 2), 1),
    (6, 6, 3, (23, 14), (3, 2), (2, 3), (3, 4), (2, 3)),
    (4, 4, 2, (3, 2), (5, 7), 1, (4, 5), 1),
    (2, 2, 2, (3, 113), 3, 1, 1, 1),
    (4, 52, 2, (6, 6), 3, 1, 1, 1),
    (4, 4, 2, (8, 9), (2, 4), 1, ((0, 1), (2, 1)), 1),
    (4, 4, 4, (8, 9), (4, 3), 1, "same", (1, 2)),
    (40, 4, 2, (5, 6), 3, 1, "valid", 1),
    (2, 4, 2, (0, 3), 1, 1, 1, 1),
]


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def unaligned(x):
    return np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)


def field_of_records(x):
    records = np.zeros(x.shape, [("tag", np.uint8), ("value", x.dtype)])
    records["value"] = x
    return records["value"]


MEMORY = (
    np.ascontiguousarray,
    channels_last,
    np.asfortranarray,
    unaligned,
    field_of_records,
    lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    lambda x: x[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
    lambda x: channels_last(np.concatenate([x, x], axis=1))[:, : x.shape[1]],
    lambda x: np.concatenate([x, x, x], axis=3)[..., x.shape[3] : 2 * x.shape[3]],
    lambda x: np.broadcast_to(x[:1], x.shape),
    lambda x: np.broadcast_to(x[:, :1, :, :1], x.shape),
)


def pair(value):
    return (value, value) if isinstance(value, int) else value


def definition(x, weight, bias, stride, padding, dilation, groups):
    """In float64, and the sum of the terms' sizes."""
    kernel, stride, dilation = weight.shape[2:], pair(stride), pair(dilation)
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if isinstance(padding, str):
        padding = [((e - 1) // 2, e - 1 - (e - 1) // 2) if padding == "same" else (0, 0) for e in extent]
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *(pair(p) for p in pair(padding))])
    size = [(s - e) // step + 1 for s, e, step in zip(padded.shape[2:], extent, stride, strict=True)]
    wide = weight.astype(np.float64).reshape(groups, -1, *weight.shape[1:])
    total = np.zeros((2, len(x), *wide.shape[:2], *size))
    for r, s in product(*map(range, kernel)):
        rows, columns = (
            slice(at * d, at * d + (n - 1) * step + 1, step)
            for at, d, n, step in zip((r, s), dilation, size, stride, strict=True)
        )
        part = padded[:, :, rows, columns].reshape(len(x), groups, -1, *size)
        for i, of in enumerate((np.asarray, np.abs)):
            total[i] += np.einsum("gkc,ngchw->ngkhw", of(wide[..., r, s]), of(part))
    total = total.reshape(2, len(x), len(weight), *size)
    added = np.zeros(len(weight)) if bias is None else bias.astype(np.float64)
    return total + np.stack([added, np.abs(added)])[:, None, :, None, None]


def problem(case, dtype=np.float32, batch=2, seed=0):
    channels, filters, groups, image, kernel, *geometry = case
    pick = np.random.default_rng(seed)
    sizes = (batch, channels, *image), (filters, channels // groups, *pair(kernel)), (filters,)
    return *(pick.standard_normal(size).astype(dtype) for size in sizes), (*geometry, groups)


def check(x, weight, bias, geometry, threads=1):
    for added, activation in (None, None), (bias, "relu"):
        y = grouped_conv2d(x, weight, added, *geometry, activation, threads)
        value, size = definition(x, weight, added, *geometry)
        value = np.maximum(value, 0) if activation else value
        eps = np.finfo(np.result_type(np.float32, x.dtype)).eps
        bound = (weight[0].size + 4) * eps * size + (2.0**-8 if x.dtype.name == "bfloat16" else 0) * np.abs(value)
        assert y.shape == value.shape and y.dtype == x.dtype
        assert (np.abs(y.astype(np.float64) - value) <= bound).all()
        last = not x.flags.c_contiguous and x.transpose(0, 2, 3, 1).flags.c_contiguous
        assert (y.transpose(0, 2, 3, 1) if last else y).flags.c_contiguous


def main():
    for dtype, case, memory in product((np.float32, np.float64, *optional_bfloat16()), CASES, MEMORY):
        x, weight, bias, geometry = problem(case, dtype)
        check(memory(x), weight, bias, geometry)
    print(_kernels.isa(), "torch" in sys.modules)


def optional_bfloat16():
    try:
        import ml_dtypes
    except ImportError:
        return ()
    return (ml_dtypes.bfloat16,)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_definition_in_any_memory(case):
    for dtype, memory in product((np.float32, np.float64, *optional_bfloat16()), MEMORY):
        x, weight, bias, geometry = problem(case, dtype)
        check(memory(x), memory(weight), np.repeat(bias, 2)[::2], geometry, threads=2)


@pytest.mark.parametrize("isa", _kernels.isas())
def test_every_instruction_set_equals_the_definition_and_needs_no_torch(isa):
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MULTIPATH_GCN_ISA": isa}
    answer = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    assert answer.stdout.split() == [isa, "False"], answer.stderr


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_has_the_bits_of_the_torch_operator(dtype):
    import torch

    from multipath_gcn.ops.conv_geometry import geometry as geometry_of_tensors

    of = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    for case, memory in product(CASES, (np.ascontiguousarray, channels_last)):
        x, weight, bias, geometry = problem(case, of)
        y = grouped_conv2d(memory(x), weight, bias, *geometry, "relu", 2)
        wide = [a.astype(np.float64) for a in (x, weight, bias)]
        tensors = [torch.from_numpy(a).to(getattr(torch, dtype)) for a in (memory(wide[0]), *wide[1:])]
        geometry = geometry_of_tensors(*tensors, *geometry)
        wanted = torch.ops.multipath_gcn.grouped_conv2d(*tensors, *geometry, True)
        np.testing.assert_array_equal(y.astype(np.float64), wanted.double().numpy())


@pytest.mark.parametrize("memory", [np.ascontiguousarray, channels_last])
def test_one_image_without_a_batch(memory):
    x, weight, bias, geometry = problem(CASES[2])
    x = memory(x)
    y = grouped_conv2d(x[0], weight, bias, *geometry)
    assert np.array_equal(y, grouped_conv2d(x, weight, bias, *geometry)[0])
    assert (y.transpose(1, 2, 0) if memory is channels_last else y).flags.c_contiguous


def test_nothing_to_read_or_to_write():
    weight = np.ones((4, 2, 3, 3), np.float32)
    assert grouped_conv2d(np.ones((0, 4, 5, 5), np.float32), weight, groups=2).shape == (0, 4, 3, 3)
    assert grouped_conv2d(np.ones((2, 4, 5, 5), np.float32), weight[:0], groups=2).shape == (2, 0, 3, 3)
    y = grouped_conv2d(np.ones((2, 0, 5, 5), np.float32), weight[:, :0], np.arange(4, dtype=np.float32), padding=1)
    assert np.array_equal(y, np.broadcast_to(np.arange(4)[:, None, None], (2, 4, 5, 5)))


def test_bits_do_not_depend_on_threads():
    for case in [*CASES, (32, 32, 8, (41, 43), 3, 1, 1, 1)]:
        for memory in np.ascontiguousarray, channels_last:
            x, weight, bias, geometry = problem(case, batch=3)
            alone, *others = (grouped_conv2d(memory(x), weight, bias, *geometry, threads=n) for n in (1, 2, 3, 7))
            assert all(alone.tobytes() == other.tobytes() for other in others)


def test_other_python_threads_run_during_a_call():
    x, weight, bias, geometry = problem((32, 32, 8, (112, 112), 3, 1, 1, 1), batch=8)
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.sleep(1e-4))

    def ticks_during_a_call():
        before = len(ticks)
        grouped_conv2d(x, weight, bias, *geometry)
        return len(ticks) - before

    clock = threading.Thread(target=tick)
    clock.start()
    try:
        assert any(ticks_during_a_call() > 4 for _ in range(100))
    finally:
        done.set()
        clock.join()


def test_arguments_are_left_as_they_are():
    for memory in MEMORY:
        x, weight, bias, geometry = problem(CASES[6])
        arrays = memory(x), memory(weight), bias
        before = [array.tobytes() for array in arrays]
        for array in arrays:
            array.setflags(write=False)
        grouped_conv2d(*arrays, *geometry, threads=2)
        assert [array.tobytes() for array in arrays] == before


X, WEIGHT = np.ones((2, 8, 7, 7), np.float32), np.ones((8, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    "changed, words",
    [
        (dict(groups=3), r"groups must divide both numbers of channels \(8 and 8\), got 3"),
        (dict(groups=0), "groups must be an integer of at least 1, got 0"),
        (dict(groups=[2]), r"groups must be an integer of at least 1, got \[2\]"),
        (dict(groups=4), r"weight must have 2 channels \(C / groups\), got shape \[8, 4, 3, 3\]"),
        (dict(stride=0), "stride must be one or two integers of at least 1, got 0"),
        (dict(stride=np.array([1, 1])), r"stride must be one or two integers of at least 1, got array\(\[1, 1\]\)"),
        (dict(dilation=(1, 2, 3)), r"dilation must be one or two integers of at least 1, got \(1, 2, 3\)"),
        (dict(padding=-1), "padding must be one or two integers of at least 0, got -1"),
        (dict(padding=np.array([1, 1])), r"padding must be one or two integers of at least 0, got array\(\[1, 1\]\)"),
        (dict(padding="half"), 'padding must be "same", "valid" or numbers, got \'half\''),
        (dict(padding="same", stride=2), 'padding must not be "same" with a stride other than 1'),
        (dict(padding=0, dilation=9), r"the kernel must fit the padded height of x \(7\), got an extent of 19"),
        (dict(activation="gelu"), "activation must be None or \"relu\", got 'gelu'"),
        (dict(threads=0), "threads must be an integer from 1 to 1024, got 0"),
        (dict(x=X[0, 0]), r"x must have shape \[N, C, H, W\] or \[C, H, W\], got \[7, 7\]"),
        (dict(x=X.astype(int)), "x must be of type float32, float64 or bfloat16, got int64"),
        (dict(x=[1]), "x must be a NumPy array, got list"),
        (dict(weight=None), "weight must be a NumPy array, got NoneType"),
        (dict(weight=WEIGHT.astype(float)), r"weight must be of the type of x \(float32\), got float64"),
        (
            dict(weight=WEIGHT[:, :, :0]),
            r"weight must have shape \[O, C / groups, R, S\] with R and S above 0, got \[8, 4, 0, 3\]",
        ),
        (dict(weight=WEIGHT[0], bias=X[0, :, 0, 0]), r"weight must have shape .*, got \[4, 3, 3\]"),
        (dict(bias=X[0, :7, 0, 0]), r"bias must have shape \[8\], got \[7\]"),
        (dict(bias=X[0, :, 0, 0].astype(float)), r"bias must be of the type of x \(float32\), got float64"),
    ],
)
def test_wrong_arguments(changed, words):
    options = dict(x=X, weight=WEIGHT, padding=1, groups=2) | changed
    with pytest.raises(ValueError, match=words):
        grouped_conv2d(**options)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"x": X[0]}, r"x must be an array \[N, C, H, W\]"),
        ({"weight": WEIGHT[0]}, r"weight must have shape \[O, C / groups, R, S\], got 3 dimensions"),
        ({"weight": WEIGHT[:7]}, "groups must divide both numbers of channels"),
        ({"weight": WEIGHT[:, :3]}, "groups must divide both numbers of channels"),
        ({"weight": WEIGHT[:, :, :0]}, "weight must have a kernel of at least 1 x 1, got 0"),
        ({"groups": 0}, "groups must divide"),
        ({"bias": X[0, :7, 0, 0]}, "one entry per filter"),
        ({"stride": [1]}, "stride and dilation must have 2 entries and padding 4"),
        ({"stride": [0, 1]}, "stride and dilation must be at least 1, got 0 and 1"),
        ({"padding": [1, 1, -1, 1]}, "padding must be at least 0, got -1 and 1"),
        ({"padding": [1, 1, 2**31, 1]}, r"must be below 2\^31, got 2147483648"),
        ({"dilation": [5, 1]}, "the kernel must fit the padded image, got an extent of 11 and a size of 9"),
        ({"y": X[:, :, :6].copy()}, "the shape of the convolution"),
        ({"y": X[0].copy()}, "the shape of the convolution"),
        ({"y": np.broadcast_to(np.float32(1), X.shape)}, "a result must be writeable"),
        ({"y": unaligned(X)}, "a result must be writeable, of whole elements"),
    ],
)
def test_kernels_stay_within_memory_whoever_calls(changed, words):
    call = {
        "x": X,
        "weight": WEIGHT,
        "bias": None,
        "stride": [1, 1],
        "padding": [1] * 4,
        "dilation": [1, 1],
        "groups": 2,
    }
    call |= {"relu": False, "y": np.empty_like(X), "threads": 3}
    _kernels.grouped_conv2d(**call)
    assert (call["y"][:, :, 1:-1, 1:-1] == 36).all()
    with pytest.raises(ValueError, match=words):
        _kernels.grouped_conv2d(**call | changed)


IN_PLACE = [memory for memory in MEMORY[:8] if memory not in (unaligned, field_of_records)]


@pytest.mark.parametrize("memory", IN_PLACE)
def test_results_may_lie_in_memory_in_any_way(memory):
    for case in CASES[2:9]:
        x, weight, bias, geometry = problem(case)
        wanted = grouped_conv2d(x, weight, bias, *geometry)
        for source in np.ascontiguousarray, channels_last:
            y = memory(np.zeros_like(wanted))
            of = geometry_of(x.shape, weight.shape, *geometry)
            _kernels.grouped_conv2d(source(x), weight, bias, *of, False, y, 2)
            np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main()
