"""Layers to measure, their inputs, and the float64 check of every way to compute them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from channel_transform_cases import STOCK_HALF_TOLERANCE, TOLERANCE
from torch import Tensor

BATCHES = (1, 16)
# (C, H = W, O, stride): every 3x3 layer of ResNet34 but the stem; and ResNeXt's, in 32 groups.
RESNET34 = [
    (64, 56, 64, 1),
    (128, 28, 128, 1),
    (256, 14, 256, 1),
    (512, 7, 512, 1),
    (64, 56, 128, 2),
    (128, 28, 256, 2),
    (256, 14, 512, 2),
]
RESNEXT = [
    (128, 56, 128, 1),
    (256, 56, 256, 2),
    (256, 28, 256, 1),
    (512, 28, 512, 2),
    (512, 14, 512, 1),
    (1024, 14, 1024, 2),
    (1024, 7, 1024, 1),
]


@dataclass(frozen=True)
class Layer:
    """batch x inputs x height x width -> outputs in so many groups, padded by half the kernel.

    Args:
        reported: the batch in the report that this one is a part of, for a call would take more than a second.
        threads: where the case is about so many; else those of the run.
    """

    family: str
    batch: int
    inputs: int
    height: int
    width: int
    outputs: int
    groups: int
    kernel: int = 3
    stride: int = 1
    reported: int = 0
    threads: int = 0

    @property
    def shape(self) -> str:
        """All but the groups, in words."""
        parts = [f"n{self.batch}" + (f"(of {self.reported})" if self.reported else "")]
        parts.append(f"{self.inputs}x{self.height}x{self.width}->{self.outputs}")
        parts += [f"k{self.kernel}"] if self.kernel != 3 else []
        parts += [f"s{self.stride}"] if self.stride != 1 else []
        parts += [f"t{self.threads}"] if self.threads else []
        return " ".join(parts)

    def __str__(self) -> str:
        return f"{self.family} {self.shape} g{self.groups}"

    @property
    def per_group(self) -> int:
        return self.inputs // self.groups

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def out_size(self) -> tuple[int, int]:
        return tuple((size + 2 * self.padding - self.kernel) // self.stride + 1 for size in (self.height, self.width))

    def flops(self, training: bool) -> int:
        positions = self.batch * self.out_size[0] * self.out_size[1]
        return (3 if training else 1) * 2 * positions * self.outputs * self.per_group * self.kernel**2


def layers(batches: Sequence[int] = BATCHES) -> list[Layer]:
    found = []
    for n in batches:
        for c, size, o, stride in RESNET34:
            groups = [2**power for power in range(c.bit_length())]
            found += [Layer("resnet34", n, c, size, size, o, g, stride=stride) for g in groups]
        found += [Layer("resnext", n, c, size, size, o, 32, stride=stride) for c, size, o, stride in RESNEXT]
    return found + PATHOLOGIES


# Each from a report of a slow case: pytorch 34977, 73764, 95604, 41167, FBGEMM 347; the 1x1 leaves oneDNN in PyTorch.
PATHOLOGIES = [
    Layer("pathology", 100, 2048, 14, 14, 2048, 32, stride=2),
    Layer("pathology", 100, 2048, 7, 7, 2048, 32),
    Layer("pathology", 8, 512, 32, 32, 512, 2, reported=64),
    Layer("pathology", 2, 128, 224, 224, 128, 4, reported=16),
    Layer("pathology", 1, 64, 14, 14, 64, 4, kernel=1, threads=1),
    Layer("pathology", 1, 128, 32, 100, 256, 128),
    *(Layer("pathology", 1, 1024, 14, 14, 512, g, kernel=k) for k in (1, 3, 5) for g in (2, 4, 8)),
]

QUICK = [
    *(Layer("resnet34", 1, 64, 56, 56, 64, g) for g in (8, 16, 32, 64)),
    *(Layer("resnet34", 1, 256, 14, 14, 256, g) for g in (2, 64, 128, 256)),
    Layer("resnet34", 1, 128, 28, 28, 256, 32, stride=2),
    *(Layer("resnet34", 16, 512, 7, 7, 512, g) for g in (128, 512)),
    Layer("resnext", 1, 128, 56, 56, 128, 32),
    Layer("resnext", 16, 512, 14, 14, 512, 32),
    Layer("pathology", 1, 64, 14, 14, 64, 4, kernel=1, threads=1),
    Layer("pathology", 1, 128, 32, 100, 256, 128),
    Layer("pathology", 1, 1024, 14, 14, 512, 8, kernel=5),
]


class Inputs:
    """x, the weight and the output's gradient of one layer, planar; what every way must give, in float64."""

    def __init__(self, layer: Layer, dtype: torch.dtype):
        self.layer, self.dtype = layer, dtype
        self.x = torch.randn(layer.batch, layer.inputs, layer.height, layer.width).to(dtype)
        weight = torch.randn(layer.outputs, layer.per_group, layer.kernel, layer.kernel)
        self.weight = (weight / (weight[0].numel() ** 0.5)).to(dtype)
        self.grad = torch.randn(layer.batch, layer.outputs, *layer.out_size).to(dtype)

    @property
    def geometry(self) -> tuple[int, int, int, int]:
        """stride, padding, dilation and groups, as F.conv2d takes them."""
        return self.layer.stride, self.layer.padding, 1, self.layer.groups

    @cached_property
    def _output(self) -> Tensor:
        return F.conv2d(self.x.double(), self.weight.double(), None, *self.geometry)

    @cached_property
    def _gradients(self) -> tuple[Tensor, Tensor]:
        leaves = [t.double().requires_grad_() for t in (self.x, self.weight)]
        return torch.autograd.grad(F.conv2d(*leaves, None, *self.geometry), leaves, self.grad.double())

    def check(self, name: str, results: Sequence[Tensor], last: bool, stock: bool = True) -> None:
        """The output, and the gradients of x and of the weight where they are given, against float64.

        Args:
            last: whether the output must be in channels-last memory (else planar).
            stock: whether PyTorch or another library made them.

        Raises:
            ValueError: a result has the wrong shape or memory format, or differs by more than the tolerance.
        """
        y, *gradients = results
        wanted = torch.channels_last if last else torch.contiguous_format
        if y.shape != self.grad.shape or not y.is_contiguous(memory_format=wanted):
            text = "channels-last" if last else "planar"
            raise ValueError(f"{name} must give {text} {tuple(self.grad.shape)}, got {tuple(y.shape)} {y.stride()}")
        expected = {"output": (y, self._output)}
        if gradients:
            pairs = zip(gradients, self._gradients, strict=True)
            expected |= dict(zip(("input gradient", "weight gradient"), pairs, strict=True))
        half = self.dtype.itemsize == 2
        tolerance = STOCK_HALF_TOLERANCE if stock and half else TOLERANCE[self.dtype]
        for what, (value, reference) in expected.items():
            error = float((value.detach().double() - reference).abs().max() / reference.abs().max())
            if value.shape != reference.shape or not error <= tolerance:
                raise ValueError(f"{what} of {name} must be within {tolerance:g} of float64, got {error:.2e}")
