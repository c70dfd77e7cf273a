"""The kernels on NumPy arrays against their definition in float64. Uses no torch; as a script it runs :func:`main`, under
MULTIPATH_GCN_ISA=avx2, say."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from multipath_gcn import _kernels, kernels
from multipath_gcn.windows import ChannelWindows

WINDOWS = [
    ChannelWindows.sliding(12, 20, 2, 0.5),
    ChannelWindows.grouped(64, 48, 4),
    ChannelWindows([5, 6, -3, 5, 1000, 2, 0], 4, 7),  # any order, wraps, equal ones
    ChannelWindows.sliding(37, 67, 1, 0.9),
    ChannelWindows([0, 30], 1, 31),  # most channels are read by no filter
    ChannelWindows([0], 1, 1),
    ChannelWindows.dense(67, 13),
]
ROWS = [(), (0,), (1,), (53,), (3, 7)]
IMAGES = [(3, 5, 7), (2, 4, 4), (7, 1, 1), (1, 17, 31), (0, 3, 3), (2, 0, 3), (150, 2, 2)]


def channels_last(values):
    return np.moveaxis(np.moveaxis(values, 1, -1).copy(), -1, 1) if values.ndim == 4 else values


def every_other(values):
    return np.repeat(values, 2, axis=-1)[..., ::2]


def backwards(values):
    return values[..., ::-1].copy()[..., ::-1]


def some_channels(values):
    if values.ndim == 4:
        return channels_last(np.concatenate([values, values], axis=1))[:, : values.shape[1]]
    return np.concatenate([values, values], axis=-1)[..., : values.shape[-1]]


def expanded(values):
    return np.broadcast_to(values[:1].copy(), values.shape)


def unaligned(values):
    memory = np.frombuffer(b"." + values.tobytes(), np.uint8)[1:]
    return memory.view(values.dtype).reshape(values.shape)


def field_of_records(values):
    records = np.zeros(values.shape, [("tag", np.uint8), ("value", values.dtype)])
    records["value"] = values
    return records["value"]


MEMORY = (
    np.ascontiguousarray,
    channels_last,
    np.asfortranarray,
    every_other,
    backwards,
    some_channels,
    expanded,
    unaligned,
    field_of_records,
)


def cases(dtype=None, seed=0):
    """(windows, x, weight, bias, grad): every shape, its arrays of either type and in any memory layout."""
    pick = np.random.default_rng(seed)
    for windows in WINDOWS:
        for shape in ROWS + IMAGES:
            of = dtype or pick.choice(["float32", "float64"])
            sizes = [
                (shape[0], channels, *shape[1:]) if len(shape) == 3 else (*shape, channels)
                for channels in (windows.in_channels, windows.out_channels)
            ] + [(windows.out_channels, windows.width), (windows.out_channels,)]
            arrays = [pick.standard_normal(size).astype(of) for size in sizes]
            x, grad, weight, bias = (MEMORY[pick.integers(len(MEMORY))](array) for array in arrays)
            yield windows, x, weight, bias, grad


def results(windows, x, weight, bias, grad, threads):
    """y, y with bias and relu, the same by a packed weight, and the gradients in x and in the weight."""
    name = "channel_transform_2d" if x.ndim == 4 else "channel_transform"
    transform, input_grad, weight_grad = (getattr(kernels, name + of) for of in ("", "_input_grad", "_weight_grad"))
    packed = kernels.pack_weight(weight, windows, threads)
    return [
        transform(x, weight, windows, threads=threads),
        transform(x, weight, windows, bias, "relu", threads),
        transform(x, packed, windows, bias, "relu", threads),
        input_grad(grad, weight, windows, threads),
        weight_grad(grad, x, windows, threads),
    ]


def rows(array):
    """[points, channels] in float64."""
    array = np.moveaxis(array, 1, -1) if array.ndim == 4 else array
    return array.reshape(-1, array.shape[-1]).astype(np.float64)


def check(windows, x, weight, bias, grad):
    y, activated, again, grad_x, grad_weight = results(windows, x, weight, bias, grad, 1)
    read = (windows.start[:, None] + np.arange(windows.width)) % windows.in_channels
    matrix = np.zeros((windows.out_channels, windows.in_channels))
    np.put_along_axis(matrix, read, weight.astype(np.float64), axis=1)
    eps = np.finfo(np.result_type(np.float32, x.dtype)).eps
    stored = 2.0**-8 if x.dtype.name == "bfloat16" else 0

    def close(got, first, second, of=lambda product: product):
        """``got`` is ``of(first @ second)`` but for the rounding of sums and of what is stored."""
        value, size = of(first @ second), of(np.abs(first) @ np.abs(second))
        bound = (first.shape[1] + 4) * eps * size + stored * np.abs(value)
        assert got.shape == value.shape
        assert (np.abs(got.astype(np.float64) - value) <= bound).all()

    one = np.ones((rows(x).shape[0], 1))
    biased = np.hstack([rows(x), one]), np.vstack([matrix.T, bias.astype(np.float64)])
    close(rows(y), rows(x), matrix.T)
    close(rows(activated), *biased, of=lambda product: np.maximum(product, 0))
    close(rows(grad_x), rows(grad), matrix)
    close(grad_weight, rows(grad).T, rows(x), of=lambda product: np.take_along_axis(product, read, axis=1))
    assert again.tobytes() == activated.tobytes()
    for result, like, channels in (y, x, windows.out_channels), (grad_x, grad, windows.in_channels):
        axis = like.ndim - 3 if like.ndim == 4 else like.ndim - 1
        assert result.shape == (*like.shape[:axis], channels, *like.shape[axis + 1 :])
        last = like.ndim == 4 and not like.flags.c_contiguous and np.moveaxis(like, 1, -1).flags.c_contiguous
        assert (np.moveaxis(result, 1, -1) if last else result).flags.c_contiguous
    assert {array.dtype for array in (y, activated, grad_x, grad_weight)} == {x.dtype}


def main():
    for of in ("float32", "float64", *optional_bfloat16()):
        for case in cases(of):
            check(*case)
    print(_kernels.isa(), "torch" in sys.modules)


def optional_bfloat16():
    try:
        import ml_dtypes
    except ImportError:
        return ()
    return (ml_dtypes.bfloat16,)


def fresh(*command, **environment):
    """A new process."""
    command = [sys.executable, *command]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("seed", range(2))
def test_equals_the_definition(seed):
    for case in cases(seed=seed):
        check(*case)


@pytest.mark.parametrize("isa", _kernels.isas())
def test_every_instruction_set_equals_the_definition_and_needs_no_torch(isa):
    answer = fresh(__file__, MULTIPATH_GCN_ISA=isa)
    assert answer.stdout.split() == [isa, "False"], answer.stderr


def test_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    for case in cases(bfloat16):
        check(*case)


def test_bits_do_not_depend_on_threads():
    for case in [*cases(seed=3), large_case()]:
        alone = results(*case, threads=1)
        for threads in (2, 3, 7):
            for one, other in zip(alone, results(*case, threads=threads), strict=True):
                assert one.tobytes() == other.tobytes()


def large_case():
    windows = ChannelWindows.sliding(48, 96, 4, 0.5)
    sizes = (3, 48, 41, 43), (96, 12), (96,), (3, 96, 41, 43)
    return windows, *(np.random.default_rng(0).standard_normal(size, np.float32) for size in sizes)


def test_other_python_threads_run_during_a_call():
    windows, x, weight, _, _ = large_case()
    x, ticks, done = np.repeat(x, 32, axis=0), [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.sleep(1e-4))

    def ticks_during_a_call():
        before = len(ticks)
        kernels.channel_transform_2d(x, weight, windows)
        return len(ticks) - before

    clock = threading.Thread(target=tick)
    clock.start()
    try:
        assert any(ticks_during_a_call() > 4 for _ in range(100))
    finally:
        done.set()
        clock.join()


def test_infinities_and_nan_stay_in_their_windows():
    windows = ChannelWindows([0, 2, 3], 2, 4)
    x = np.array([[np.inf, 1, np.nan, -1], [1, -np.inf, 1, 1]], np.float32)
    y = kernels.channel_transform(x, np.ones((3, 2), np.float32), windows, activation="relu")
    np.testing.assert_array_equal(y, np.array([[np.inf, np.nan, np.inf], [0, 2, 2]], np.float32))


def test_arguments_are_left_as_they_are():
    for case in cases(seed=4):
        before = [array.tobytes() for array in case[1:]]
        for array in case[1:]:
            array.setflags(write=False)
        results(*case, threads=2)
        assert [array.tobytes() for array in case[1:]] == before


def test_packed_weight_is_a_copy():
    windows, x, weight, _, _ = large_case()
    packed, before = kernels.pack_weight(weight, windows), kernels.channel_transform_2d(x, weight, windows)
    weight[:] = 0
    assert np.array_equal(kernels.channel_transform_2d(x, packed, windows), before)


W = ChannelWindows.sliding(4, 6, 2, 0.5)
X, WEIGHT, BIAS, GRAD = (np.ones(size, np.float32) for size in [(3, 4), (6, 2), (6,), (3, 6)])
IMAGE = np.ones((2, 4, 3, 3), np.float32)


@pytest.mark.parametrize(
    "function, args, words",
    [
        ("", (X, WEIGHT, [0]), "windows must be ChannelWindows, got list"),
        ("", ([[1.0] * 4], WEIGHT, W), "x must be a NumPy array, got list"),
        ("", (X.astype(int), WEIGHT, W), "x must be of type float32, float64 or bfloat16, got int64"),
        ("", (X.astype(">f4"), WEIGHT, W), "x must be of type .*, got >f4"),
        ("", (X.astype(complex), WEIGHT, W), "x must be of type .*, got complex128"),
        ("", (X[0, 0:1].reshape(()), WEIGHT, W), r"x must have shape \[\*, C\], got \[\]"),
        ("", (X[:, :3], WEIGHT, W), r"x must have 4 channels, got shape \[3, 3\]"),
        ("", (X, WEIGHT.T, W), r"weight must have shape \[6, 2\], got \[2, 6\]"),
        ("", (X, None, W), "weight must be a NumPy array, got NoneType"),
        ("", (X, WEIGHT.astype(float), W), r"weight must be of the type of x \(float32\), got float64"),
        ("", (X, WEIGHT, W, BIAS[:5]), r"bias must have shape \[6\], got \[5\]"),
        ("", (X, WEIGHT, W, None, "tanh"), "activation must be None or \"relu\", got 'tanh'"),
        ("", (X, WEIGHT, W, None, None, 0), "threads must be an integer from 1 to 1024, got 0"),
        ("", (X, WEIGHT, W, None, None, True), "threads must be .*, got True"),
        ("", (X, WEIGHT, W, None, None, 2.0), "threads must be .*, got 2.0"),
        ("", (X, WEIGHT, W, None, None, 2**70), "threads must be .*, got 1180591620717411303424"),
        ("", (X, kernels.pack_weight(WEIGHT, W), ChannelWindows.grouped(4, 6, 2)), "windows must be those that"),
        ("", (X.astype(float), kernels.pack_weight(WEIGHT, W), W), r"weight must be of the type of x \(float64\)"),
        ("_2d", (X, WEIGHT, W), r"x must have shape \[N, C, H, W\], got \[3, 4\]"),
        ("_2d", (IMAGE[:, :3], WEIGHT, W), r"x must have 4 channels, got shape \[2, 3, 3, 3\]"),
        ("_input_grad", (X, WEIGHT, W), r"grad must have 6 channels, got shape \[3, 4\]"),
        ("_input_grad", (GRAD, WEIGHT[:3], W), r"weight must have shape \[6, 2\], got \[3, 2\]"),
        ("_input_grad", (GRAD, WEIGHT.astype(float), W), r"weight must be of the type of grad \(float32\)"),
        ("_input_grad", (GRAD, kernels.pack_weight(WEIGHT, W), W), "weight must be a NumPy array, got PackedWeight"),
        ("_weight_grad", (GRAD[:2], X, W), r"grad must have shape \[3, 6\], got \[2, 6\]"),
        ("_weight_grad", (GRAD.astype(float), X, W), r"grad must be of the type of x \(float32\), got float64"),
        ("_2d_weight_grad", (GRAD, IMAGE, W), r"grad must have shape \[2, 6, 3, 3\], got \[3, 6\]"),
    ],
)
def test_wrong_arguments(function, args, words):
    with pytest.raises(ValueError, match=words):
        getattr(kernels, "channel_transform" + function)(*args)


def test_wrong_weights_to_pack():
    with pytest.raises(ValueError, match=r"weight must have shape \[6, 2\], got \[3, 4\]"):
        kernels.pack_weight(X, W)
    with pytest.raises(ValueError, match="weight must be of type float32, float64 or bfloat16, got int64"):
        kernels.pack_weight(WEIGHT.astype(int), W)


START, ORDER = np.array([0, 1, 2, 3, 0, 1], np.int32), np.array([0, 4, 1, 5, 2, 3], np.int32)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"x": X}, "points must be"),
        ({"weight": WEIGHT[:5]}, "one row per filter"),
        ({"weight": np.ones((6, 5), np.float32)}, "as wide as"),
        ({"bias": BIAS[:5]}, "one entry per filter"),
        ({"start": START[:5]}, "one (row|entry) per filter"),
        ({"order": ORDER[:5]}, "one entry per filter"),
        ({"order": ORDER + 1}, "order must be a permutation that sorts start"),
        ({"order": START}, "order must be a permutation that sorts start"),
        ({"y": np.ones((1, 5, 3), np.float32)}, "one channel per filter"),
        ({"y": np.ones((1, 6, 2), np.float32)}, "the points of the input"),
        ({"y": np.ones((1, 6, 6), np.float32)[..., ::2]}, "writeable rows or planes"),
        ({"y": np.broadcast_to(np.float32(1), (1, 6, 3))}, "writeable rows or planes"),
    ],
)
def test_kernels_stay_within_memory_whoever_calls(changed, words):
    call = {"x": X.T[None], "weight": WEIGHT, "bias": BIAS, "start": START, "order": ORDER}
    call |= {"relu": False, "transposed": False, "y": np.empty((1, 6, 3), np.float32), "threads": 3}
    _kernels.transform(**call)
    assert (call["y"] == 3).all()
    with pytest.raises(ValueError, match=words):
        _kernels.transform(**call | changed)


def test_packed_bytes_are_those_of_the_windows():
    with pytest.raises(ValueError, match="packed must be"):
        _kernels.transform_packed(
            X.T[None], np.zeros(3, np.uint8), None, START, ORDER, 2, False, np.empty((1, 6, 3), np.float32), 1
        )


def test_unknown_instruction_set():
    code = "import test_kernels as t; t.kernels.channel_transform(t.X, t.WEIGHT, t.W)"
    answer = fresh("-c", code, MULTIPATH_GCN_ISA="mmx", PYTHONPATH=os.path.dirname(__file__))
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith("RuntimeError: MULTIPATH_GCN_ISA must be one of baseline")
    assert "got 'mmx'" in answer.stderr


def test_missing_library_is_told():
    answer = fresh("-c", "import sys; sys.modules['multipath_gcn._kernels'] = None; import multipath_gcn.kernels")
    assert "ImportError: the compiled kernels of multipath_gcn cannot be loaded" in answer.stderr
    assert "pip install --no-build-isolation" in answer.stderr


if __name__ == "__main__":
    main()
