"""Every CUDA kernel once or more on small tensors, for compute-sanitizer: ``python small_cases.py``.

The reference runs on the CPU, so that next to nothing else is on the device.
"""

import os
import random
import sys
from pathlib import Path

os.environ.setdefault("PYTORCH_NO_CUDA_MEMORY_CACHING", "1")  # every tensor its own allocation, with edges to overstep
sys.path.insert(0, str(Path(__file__).parents[1]))

import convolutions
import matrices
import torch
import transforms

from multipath_gcn import _native
from multipath_gcn.windows import ChannelWindows

# (windows, points): several tiles and chunks, small tiles, narrow windows
CASES = [
    (ChannelWindows.sliding(72, 136, 4, 0.5), 300),
    (ChannelWindows.sliding(37, 41, 1, 0), 45),
    (ChannelWindows.grouped(24, 40, 8), 70),
    (ChannelWindows([3, 900, -5, 0, 3], 9, 31), 20),
]


# ((rows, columns), features): long rows and short ones; words and elements; several chunks
MATRICES = [((1, 300), 8), ((37, 41), 40), ((64, 150), 7), ((70, 90), 264), ((20, 30), 131)]


def main():
    _native.load()
    torch.manual_seed(0)
    print(channel_transforms() + propagations() + grouped_convolutions(), "results are right")


def channel_transforms():
    ops, reference, count = torch.ops.multipath_gcn, transforms.reference(), 0
    for windows, points in CASES:
        start, order = windows.on("cuda")
        for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
            for channel_dim in (-1, 1):
                shape = (points,) if channel_dim == -1 else (2, points // 10, 5)
                x, grad = (
                    torch.randn(*shape, c).to(dtype).movedim(-1, channel_dim).contiguous()
                    for c in (windows.in_channels, windows.out_channels)
                )
                weight, bias = torch.randn(windows.out_channels, windows.width), torch.randn(windows.out_channels)
                weight, bias = weight.to(dtype), bias.to(dtype)
                there = [t.cuda() for t in (x, weight, bias, grad)]
                got = (
                    ops.channel_transform(*there[:3], start, order, channel_dim, True),
                    ops.channel_transform_input_grad(
                        there[3], there[1], start, order, windows.in_channels, channel_dim
                    ),
                    ops.channel_transform_weight_grad(there[3], there[0], start, order, windows.width, channel_dim),
                )
                s, o = windows.on("cpu")
                calls = (
                    (reference.channel_transform, x, weight, bias, s, o, channel_dim, True),
                    (reference.channel_transform_input_grad, grad, weight, s, o, windows.in_channels, channel_dim),
                    (reference.channel_transform_weight_grad, grad, x, s, o, windows.width, channel_dim),
                )
                tf32 = dtype == torch.float32 and os.environ.get("MULTIPATH_GCN_TF32") == "1"
                for result, (function, *args) in zip(got, calls, strict=True):
                    if tf32:
                        want = function(*args)
                        assert (result.cpu() - want).norm() <= 2e-3 * want.norm()
                    else:
                        transforms.assert_exact(result.cpu(), function, *args, terms=1000)
                    count += 1
    return count


def propagations():
    pick, count = random.Random(0), 0
    for shape, features in MATRICES:
        for dtype in matrices.DTYPES:
            problem = matrices.Problem(*shape, features, dtype, "cuda", pick)
            count += matrices.check_operators(torch.ops.multipath_gcn, problem)
    return count


def grouped_convolutions():
    pick, count = random.Random(0), 0
    for number, size in enumerate(convolutions.SIZES):
        for dtype in convolutions.DTYPES:
            for geometry in (*convolutions.GEOMETRIES[:2], convolutions.GEOMETRIES[2 + number % 9]):
                problem = convolutions.Problem(size, geometry, (2, 9, 7), dtype, "cuda", pick)
                count += convolutions.check_operators(torch.ops.multipath_gcn, problem)
    return count


if __name__ == "__main__":
    main()
