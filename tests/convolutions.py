"""Grouped convolutions to test, and their operators against the definition, to the last bit.

All values are small integers, of which sums are exact in any order. Imports neither pytest nor PyG.
"""

import importlib.util
import random
import sys
from pathlib import Path

import torch
from matrices import assert_equal
from transforms import MEMORY

import multipath_gcn

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# channels and filters of a group, and groups: every block of filters, in part filled too; vectors of channels
SIZES = [
    (1, 1, 9),
    (1, 2, 5),
    (2, 2, 8),
    (4, 4, 8),
    (8, 8, 4),
    (3, 5, 2),
    (8, 3, 3),
    (4, 12, 2),
    (20, 9, 1),
    (16, 16, 2),
]
# kernel, stride, padding (top, bottom, left, right), dilation
GEOMETRIES = [
    ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    ((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    ((1, 1), (2, 3), (0, 1, 2, 0), (1, 1)),
    ((3, 3), (1, 2), (0, 2, 1, 0), (1, 3)),
    ((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    ((3, 3), (4, 2), (3, 0, 2, 5), (2, 3)),
    ((5, 3), (1, 1), (2, 2, 1, 1), (1, 1)),
    ((2, 7), (3, 1), (0, 1, 3, 4), (2, 1)),
    ((4, 5), (6, 4), (1, 3, 2, 2), (4, 2)),
    ((7, 7), (1, 1), (6, 6, 6, 6), (1, 1)),
]
IMAGES = [(1, 1, 1), (2, 7, 7), (3, 5, 9), (1, 17, 31), (5, 14, 3), (0, 6, 6)]


def definition():
    """ops/reference/grouped_conv2d.py by its file: without the package, whose import takes seconds."""
    folder = Path(multipath_gcn.__file__).with_name("ops") / "reference"
    for name in ("channel_transform", "grouped_conv2d"):  # the latter imports the former
        full = f"multipath_gcn.ops.reference.{name}"
        if full not in sys.modules:
            spec = importlib.util.spec_from_file_location(full, folder / f"{name}.py")
            sys.modules[full] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


def fits(image, geometry) -> bool:
    kernel, _, padding, dilation = geometry
    pads = padding[0] + padding[1], padding[2] + padding[3]
    return all(d * (k - 1) < n + p for n, p, k, d in zip(image, pads, kernel, dilation, strict=True))


class Problem:
    """x [N, G C, H, W], weight, bias and the gradient of the output; ``pick`` decides on what is strided."""

    def __init__(self, size, geometry, image, dtype, device="cpu", pick=random):
        self.dtype, self.device = dtype, device
        (channels, filters, self.groups), (self.kernel, *rest) = size, geometry
        self.geometry = [*map(list, rest), self.groups]
        self.x = pick.choice(MEMORY)(self.new, (image[0], channels * self.groups, *image[1:]))
        self.weight = pick.choice(MEMORY)(self.new, (filters * self.groups, channels, *self.kernel))
        self.bias = pick.choice((None, self.new(filters * self.groups), self.new(2 * filters * self.groups)[::2]))
        self.relu = pick.choice((True, False))
        y = definition().grouped_conv2d(self.x.double().cpu(), self.weight.double().cpu(), None, *self.geometry, False)
        self.grad = pick.choice(MEMORY)(self.new, tuple(y.shape))

    def new(self, *shape):
        return torch.randint(-3, 4, shape).to(self.device, self.dtype)

    def __str__(self):
        tensors = {"x": self.x, "weight": self.weight, "grad": self.grad}
        layouts = [f"{name} {list(t.shape)} strides {t.stride()}" for name, t in tensors.items()]
        return f"{self.dtype}, {', '.join(layouts)}, stride, padding, dilation and groups {self.geometry}"


def check_operators(ops, problem) -> int:
    """The forward and both gradients: values and memory format. Returns how many results there were."""
    x, weight, grad, geometry = problem.x, problem.weight, problem.grad, problem.geometry
    for name, *args in (
        ("grouped_conv2d", x, weight, problem.bias, *geometry, problem.relu),
        ("grouped_conv2d_input_grad", grad, weight, list(x.shape[2:]), *geometry),
        ("grouped_conv2d_weight_grad", grad, x, list(problem.kernel), *geometry),
    ):
        got = getattr(ops, name)(*args)
        exact = getattr(definition(), name)(*(a.cpu().double() if isinstance(a, torch.Tensor) else a for a in args))
        assert_equal(got.cpu(), exact.to(problem.dtype), name)
        first = args[0]
        wanted = torch.contiguous_format if name.endswith("weight_grad") else definition().memory_format(first, 1)
        assert got.is_contiguous(memory_format=wanted), f"{name} {got.stride()}"
    return 3
