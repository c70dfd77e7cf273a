"""Shapes to measure, their inputs, and the float64 check of every way to compute them."""

from dataclasses import dataclass
from functools import cached_property

import torch
from channel_transform_peers import Way
from torch import Tensor

# (C, H = W, O): every pointwise layer of the published CIFAR-10 networks with sliding channels.
IMAGES = [
    (64, 32, 64),
    (64, 16, 128),
    (128, 16, 128),
    (128, 8, 256),
    (256, 8, 256),
    (256, 4, 512),
    (512, 4, 512),
    (512, 2, 512),
    (32, 32, 64),
    (512, 2, 1024),
    (1024, 2, 1024),
]
BATCHES = (128, 16, 1)
NODES, WIDTHS = 169343, (128, 256, 512)  # ogbn-arxiv
GROUPS = (1, 2, 4, 8, 16)
OVERLAPS = (0.0, 0.25, 0.33, 0.5, 0.75)
QUICK = ["n128 64x32x32->64", "n128 512x4x4->512", "n16 256x8x8->256", "n1 128x16x16->128", f"rows {NODES}x128->128"]

# Of the greatest reference value. Stock operators add half types up in half precision here and there (0.03 was seen in
# a batched product over 131072 pixels); a wrong channel anywhere gives errors near 1.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 5e-3}
STOCK_HALF_TOLERANCE = 0.15
TF32_TOLERANCE = 5e-3


@dataclass(frozen=True)
class Shape:
    """N x C x H x W -> O, or N rows of C -> O where size is 0."""

    batch: int
    inputs: int
    size: int
    outputs: int

    def __str__(self) -> str:
        if not self.size:
            return f"rows {self.batch}x{self.inputs}->{self.outputs}"
        return f"n{self.batch} {self.inputs}x{self.size}x{self.size}->{self.outputs}"

    @property
    def rows(self) -> int:
        return self.batch * max(self.size, 1) ** 2

    def flops(self, groups: int, training: bool) -> int:
        return (3 if training else 1) * 2 * self.rows * self.outputs * self.inputs // groups

    def bytes(self, groups: int, training: bool, itemsize: int) -> int:
        """x, w and y moved once per operator: forward, and for training both gradients, three tensors each."""
        once = self.rows * (self.inputs + self.outputs) + self.outputs * self.inputs // groups
        return (3 if training else 1) * once * itemsize


def shapes(channels_last: bool) -> list[Shape]:
    """All of them; in channels-last memory images only, for rows have one format."""
    images = [Shape(n, c, size, o) for n in BATCHES for c, size, o in IMAGES]
    return images if channels_last else images + [Shape(NODES, width, 0, width) for width in WIDTHS]


class Inputs:
    """x, a leaf with gradient, and the output's gradient for one shape.

    Args:
        layout: "rows", "planar" or "channels_last".
    """

    def __init__(self, shape: Shape, layout: str, dtype: torch.dtype, device: torch.device):
        self.shape, self.layout, self.dtype, self.device = shape, layout, dtype, device
        self.x = self._random(shape.inputs).requires_grad_()
        self.grad = self._random(shape.outputs)
        few = 4096 if layout == "rows" else 8
        self._sample = torch.linspace(0, shape.batch - 1, min(few, shape.batch), dtype=torch.float64).long().to(device)

    def _random(self, channels: int) -> Tensor:
        extent = (self.shape.size, self.shape.size) if self.shape.size else ()
        made = torch.randn(self.shape.batch, channels, *extent, device=self.device).to(self.dtype)
        return made.contiguous(memory_format=torch.channels_last) if self.layout == "channels_last" else made

    def step(self, way: Way, training: bool) -> tuple[Tensor, ...]:
        """y, and for training the gradients of x and of the weight that autograd leaves."""
        if not training:
            with torch.no_grad():
                return (way.run(self.x, way.weight),)
        self.x.grad = way.weight.grad = None
        y = way.run(self.x, way.weight)
        y.backward(self.grad)
        return y, self.x.grad, way.weight.grad

    def check(self, name: str, way: Way, training: bool, stock: bool = True) -> None:
        """y and the input gradient on a sample of rows or images, the weight gradient from all of them, in float64.

        Raises:
            ValueError: a result has the wrong shape or memory format, or differs by more than the tolerance.
        """
        weight = way.weight.detach().view(self.shape.outputs, -1)
        channel = (way.start[:, None] + torch.arange(weight.size(1))) % self.shape.inputs
        channel = channel.to(self.device)
        masked = torch.zeros(self.shape.outputs, self.shape.inputs, dtype=torch.float64, device=self.device)
        masked.scatter_(1, channel, weight.double())
        y, *gradients = self.step(way, training)
        last = self.layout == "channels_last"
        if y.shape != self.grad.shape or not y.is_contiguous(
            memory_format=torch.channels_last if last else torch.contiguous_format
        ):
            raise ValueError(f"{name} must give {self.layout} {tuple(self.grad.shape)}, got {tuple(y.shape)}")
        found = {"output": (self._rows(y), self._rows(self.x) @ masked.T)}
        if training:
            of_x, of_weight = gradients
            found["input gradient"] = (self._rows(of_x), self._rows(self.grad) @ masked)
            found["weight gradient"] = (of_weight.view_as(weight).double(), self._products.gather(1, channel))
        whole = weight.size(1) == self.shape.inputs and not way.start.any()  # dense: ours calls the stock operator
        tolerance = self.tolerance(stock or whole)
        for what, (value, reference) in found.items():
            error = float((value - reference).abs().max() / reference.abs().max())
            if not error <= tolerance:
                raise ValueError(f"{what} of {name} must be within {tolerance:g} of float64, got {error:.2e}")

    def tolerance(self, stock: bool) -> float:
        if self.device.type == "cuda" and self.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
            return TF32_TOLERANCE
        return STOCK_HALF_TOLERANCE if stock and self.dtype.itemsize == 2 else TOLERANCE[self.dtype]

    def _rows(self, value: Tensor) -> Tensor:
        value = value.detach()[self._sample].double()
        return value if value.dim() == 2 else value.permute(0, 2, 3, 1).flatten(0, 2)

    @cached_property
    def _products(self) -> Tensor:
        """grad^T x [O, C]: every windowed weight gradient is a part of it."""
        total = torch.zeros(self.shape.outputs, self.shape.inputs, dtype=torch.float64, device=self.device)
        step = 16384 if self.layout == "rows" else 16
        for grad, x in zip(self.grad.split(step), self.x.detach().split(step), strict=True):
            rows = [t if t.dim() == 2 else t.transpose(0, 1).flatten(1).T for t in (grad.double(), x.double())]
            total += rows[0].T @ rows[1]
        return total
