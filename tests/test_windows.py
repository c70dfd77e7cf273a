import copy
import math
import pickle
import re
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from multipath_gcn.windows import ChannelWindows


def test_dense_windows_read_every_channel_in_order():
    windows = ChannelWindows.dense(5, 3)
    assert (windows.in_channels, windows.out_channels, windows.width, windows.cycle) == (5, 3, 5, 1)
    assert windows.start.tolist() == [0, 0, 0]
    assert windows.is_dense and not ChannelWindows([0, 0, 1], 5, 5).is_dense


def test_grouped_windows_are_the_blocks_of_torch():
    windows = ChannelWindows.grouped(6, 9, groups=3)
    assert windows.width == 2
    assert windows.start.tolist() == [0, 0, 0, 2, 2, 2, 4, 4, 4]


def test_sliding_windows_step_by_what_they_do_not_share():
    assert ChannelWindows.sliding(8, 6, groups=2, overlap=0.5).start.tolist() == [0, 2, 4, 6, 0, 2]
    assert ChannelWindows.sliding(8, 6, groups=2, overlap=0).start.tolist() == [0, 4, 0, 4, 0, 4]
    assert ChannelWindows.sliding(8, 3, groups=8, overlap=0.9).start.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("width", "overlap", "step"),
    [
        (10, 0.6, 4),  # in binary floating point 0.6 * 10 is 6 and 0.4 * 10 is 4: harmless
        (100, 0.29, 71),  # 0.29 * 100 is 28.999999999999996
        (100, "0.29", 71),
        (100, np.float32(0.29), 71),
        (100, Fraction(29, 100), 71),
        (3, "1/3", 2),
        (3, 1 / 3, 3),  # 0.3333333333333333 is less than a third
        (3, Fraction(1, 3), 2),
        (32, 0.33, 22),
        (4, 0, 4),
        (7, 1e-300, 7),
    ],
)
def test_the_overlap_is_exact(width, overlap, step):
    windows = ChannelWindows.sliding(2 * width, 2, 2, overlap)
    assert windows.start.tolist() == [0, step]


@pytest.mark.parametrize("channels", [4, 12, 30, 64])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.33, 0.5, 0.75, 0.9])
def test_the_cycle_is_that_of_the_step(channels, groups, overlap):
    windows = ChannelWindows.sliding(channels, 3 * channels, groups, overlap)
    step = int(windows.start[1]) or channels
    assert windows.cycle == channels // math.gcd(channels, step)


def test_without_overlap_a_permutation_gives_the_groups():
    sliding, grouped = ChannelWindows.sliding(12, 8, 4, 0), ChannelWindows.grouped(12, 8, 4)
    permutation = sliding.permutation()
    assert permutation.dtype == torch.int64
    assert np.array_equal(sliding.start[permutation], grouped.start)
    assert permutation.tolist() == [0, 4, 1, 5, 2, 6, 3, 7]  # stable


def test_released_starts_round_where_the_released_kernel_does():
    windows = ChannelWindows.released(64, 64, 2, 0.33)
    step = np.float32(1) - np.float32(0.33)
    assert windows.start.tolist() == [int(np.float32(np.float32(o) * step) * np.float32(32)) % 64 for o in range(64)]
    assert windows.start[:6].tolist() == [0, 21, 42, 0, 21, 43]  # step 21.44
    exact = ChannelWindows.sliding(20, 64, 2, 0.6)  # step 4, missed by float32 (reference/kernels.md, D4)
    assert (ChannelWindows.released(20, 64, 2, 0.6).start != exact.start).sum() == 43


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
def test_released_and_sliding_agree_on_binary_fractions(overlap):
    assert ChannelWindows.released(64, 128, 4, overlap) == ChannelWindows.sliding(64, 128, 4, overlap)


@pytest.mark.parametrize(
    "start",
    [
        [-1, 7, 10**30],
        (-1, 7, 10**30),
        np.array([-1, 7, 10**18], dtype=np.int64),
        np.array([255, 1, 0], dtype=np.uint8),
        torch.tensor([5, 1, 4], dtype=torch.int16),
        [np.int32(5), 1, np.uint64(2**64 - 2)],
        range(3),
    ],
)
def test_any_integers_are_starts(start):
    windows = ChannelWindows(start, 2, 6)
    assert windows.start.tolist() == [int(s) % 6 for s in start]
    assert windows.start.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        windows.start[0] = 1


def test_equal_windows_are_one_key():
    windows = ChannelWindows([1, 2], 2, 4)
    same = ChannelWindows(np.array([5, -2]), 2, 4)
    assert windows == same and hash(windows) == hash(same)
    assert windows not in {
        ChannelWindows([1, 3], 2, 4),
        ChannelWindows([1, 2], 3, 4),
        ChannelWindows([1, 2], 2, 5),
        None,
    }


def test_copies_are_equal():
    windows = ChannelWindows.sliding(12, 7, 3, "1/3")
    windows.on("meta")
    assert pickle.loads(pickle.dumps(windows)) == windows
    assert copy.deepcopy(windows) == windows
    assert copy.copy(windows) == windows


def test_repr():
    assert repr(ChannelWindows([1, -1], 2, 4)) == "ChannelWindows(start=[1, 3], width=2, in_channels=4)"
    assert "start=[0, 0, 0, 0, 0, 0, 0, 0, ...]" in repr(ChannelWindows.dense(3, 9))


def test_tensors_are_made_once_per_device():
    windows = ChannelWindows([9, 2, 5, 3], 2, 7)
    start, order = windows.on("cpu")
    assert (start.tolist(), order.tolist()) == ([2, 2, 5, 3], [0, 1, 3, 2])
    assert start.dtype == order.dtype == torch.int32
    assert windows.on(torch.device("cpu"))[0] is start
    assert windows.on("meta")[0].is_meta
    assert windows.on(torch.device("meta"))[0] is windows.on("meta")[0]


@pytest.mark.parametrize("mode", [FakeTensorMode, torch.inference_mode, lambda: torch.device("meta")])
def test_kept_tensors_outlive_the_mode_they_are_made_in(mode):
    with mode():
        windows = ChannelWindows([1, 0], 2, 3)
        windows.on("cpu")
    start, order = windows.on("cpu")
    assert type(start) is torch.Tensor and not start.is_inference() and order.tolist() == [1, 0]


def test_torch_is_not_needed():
    code = """
import sys
sys.modules["torch"] = None  # an import of it fails
from multipath_gcn.windows import ChannelWindows
print(ChannelWindows.sliding(6, 4, 2, 0.5))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "ChannelWindows(start=[0, 2, 4, 0], width=3, in_channels=6)", run.stderr


def test_windows_made_before_torch_is_loaded():
    code = """
from multipath_gcn.windows import ChannelWindows
windows = ChannelWindows([1, 0], 2, 3)
import torch
print(windows.on("cpu")[1].tolist())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[1, 0]", run.stderr


ILLEGAL = [
    (lambda: ChannelWindows.grouped(10, 6, 3), "in_channels (10) must be divisible by groups (3)"),
    (lambda: ChannelWindows.sliding(10, 6, 3, 0.5), "in_channels (10) must be divisible by groups (3)"),
    (lambda: ChannelWindows.released(10, 6, 3, 0.5), "in_channels (10) must be divisible by groups (3)"),
    (lambda: ChannelWindows.grouped(6, 10, 3), "out_channels (10) must be divisible by groups (3)"),
    (lambda: ChannelWindows.grouped(6, 6, 0), "groups must be an integer from 1 to 2147483647, got 0"),
    (lambda: ChannelWindows.sliding(6, 6, -2, 0), "groups must be an integer from 1 to 2147483647, got -2"),
    (lambda: ChannelWindows.sliding(6, 6, 2.0, 0), "groups must be an integer from 1 to 2147483647, got 2.0"),
    (lambda: ChannelWindows.sliding(6, 6, True, 0), "groups must be an integer from 1 to 2147483647, got True"),
    (lambda: ChannelWindows.sliding(6, 0, 2, 0), "out_channels must be an integer from 1 to 2147483647, got 0"),
    (lambda: ChannelWindows.dense(6, 0), "out_channels must be an integer from 1 to 2147483647, got 0"),
    (lambda: ChannelWindows.dense(0, 6), "in_channels must be an integer from 1 to 2147483647, got 0"),
    (lambda: ChannelWindows([0], 1, 2**31), "in_channels must be an integer from 1 to 2147483647, got 2147483648"),
    (lambda: ChannelWindows([0], 4, 3), "width must be at most in_channels (3), got 4"),
    (lambda: ChannelWindows([0], 0, 3), "width must be an integer from 1 to 2147483647, got 0"),
    (lambda: ChannelWindows([0], "2", 3), "width must be an integer from 1 to 2147483647, got '2'"),
    (lambda: ChannelWindows([], 2, 3), "the number of starts must be an integer from 1 to 2147483647, got 0"),
    (lambda: ChannelWindows([0, 1.0], 2, 3), "start must be a sequence of integers, got 1.0 at 1"),
    (lambda: ChannelWindows([False], 2, 3), "start must be a sequence of integers, got False at 0"),
    (lambda: ChannelWindows("01", 2, 3), "start must be a sequence of integers, got '0' at 0"),
    (lambda: ChannelWindows(7, 2, 3), "start must be a sequence of integers, got 7"),
    (lambda: ChannelWindows(None, 2, 3), "start must be a sequence of integers, got None"),
    (lambda: ChannelWindows([[0, 1]], 2, 3), "start must be a sequence of integers, got [0, 1] at 0"),
    (lambda: ChannelWindows(np.zeros(2), 2, 3), "start must be a sequence of integers, got 0.0 at 0"),
    (lambda: ChannelWindows(np.array([True]), 2, 3), "start must be a sequence of integers, got True at 0"),
    (lambda: ChannelWindows(torch.tensor([0.5]), 2, 3), "start must be a sequence of integers, got 0.5 at 0"),
    (lambda: ChannelWindows(torch.tensor(1), 2, 3), "start must be a sequence of integers, got tensor(1)"),
    (lambda: ChannelWindows(torch.zeros(2, device="meta"), 2, 3), "start must be a sequence of integers, got tensor("),
]


@pytest.mark.parametrize(("make", "sentence"), ILLEGAL, ids=[sentence[:60] for _, sentence in ILLEGAL])
def test_illegal_arguments_are_named(make, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make()


@pytest.mark.parametrize(
    "overlap",
    [
        *(math.nan, math.inf, -0.1, 1, 1.0, True, None, 1j, [0.5], Decimal("0.5"), torch.tensor(0.5)),
        *("1", "3/2", "-1/3", "1/0", "a half", "", "nan", "1e-3"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("make", [ChannelWindows.sliding, ChannelWindows.released])
def test_an_overlap_is_at_least_0_and_less_than_1(make, overlap):
    with pytest.raises(ValueError, match=rf"overlap must be a number in \[0, 1\).*got {re.escape(repr(overlap))}$"):
        make(8, 8, 2, overlap)
