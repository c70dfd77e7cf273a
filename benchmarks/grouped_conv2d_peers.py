"""Ways to compute one grouped convolution in this process: ours and PyTorch's, in both memory formats.

A forward way gets x in its format and gives the output in that format, without gradients; what it does to the weight
beforehand is not timed. `torch_packed`, in channels-last memory only, is PyTorch's operator with the weight in oneDNN's
own order, which frozen compiled networks call and which is no public function; it is left out for types that the
processor has no instructions for. A training way is forward and both gradients through autograd.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from grouped_conv2d_cases import Inputs
from torch import Tensor

from multipath_gcn.ops import grouped_conv2d, prepack_conv2d
from multipath_gcn.ops.stock_conv2d import reorders

OURS, TORCH = ("ours", "ours_last"), ("torch", "torch_last")


@dataclass(frozen=True)
class Way:
    """`run` gives the output and, in training, the gradients of x and of the weight."""

    run: Callable[[], tuple[Tensor, ...]]
    last: bool
    stock: bool


def forward(inputs: Inputs) -> dict[str, Way]:
    calls = {name: (last, packed(inputs.weight, None, inputs.geometry)) for last, name in enumerate(OURS)}
    for last, name in enumerate(TORCH):
        weight = _formatted(inputs.weight, last)
        calls[name] = last, lambda x, w=weight: F.conv2d(x, w, None, *inputs.geometry)
    if reorders(inputs.x.dtype):
        calls["torch_packed"] = 1, _onednn(inputs)
    xs = [_formatted(inputs.x, last) for last in range(2)]
    return {
        name: Way(_without_grad(call, xs[last]), bool(last), stock=name not in OURS)
        for name, (last, call) in calls.items()
    }


def packed(weight: Tensor, bias: Tensor | None, geometry: tuple, activation: str | None = None) -> Callable:
    """Ours for inference, the weight made ready before: maps x to y."""
    return prepack_conv2d(weight, bias, *geometry, activation)


def training(inputs: Inputs) -> dict[str, Way]:
    found = {}
    for names, function in ((OURS, grouped_conv2d), (TORCH, F.conv2d)):
        for last, name in enumerate(names):
            weight = _formatted(inputs.weight, last)  # as of a model .to(memory_format=torch.channels_last)
            found[name] = Way(_step(function, inputs, weight, last), bool(last), names is TORCH)
    return found


def _onednn(inputs: Inputs) -> Callable[[Tensor], Tensor]:
    stride, padding, dilation, groups = inputs.geometry
    geometry = [padding] * 2, [stride] * 2, [dilation] * 2, groups
    weight = torch.ops.mkldnn._reorder_convolution_weight(inputs.weight, *geometry, list(inputs.x.shape))
    return lambda x: torch.ops.mkldnn._convolution_pointwise(x, weight, None, *geometry, "none", [], "")


def _formatted(value: Tensor, last: int) -> Tensor:
    """Of a tensor with one channel or one pixel, which is in both formats, strides of the format asked for."""
    if not last:
        return value
    n, c, h, w = value.shape
    made = value.new_empty(n, h, w, c).permute(0, 3, 1, 2)
    return made.copy_(value)


def _without_grad(call: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], tuple[Tensor]]:
    def run():
        with torch.no_grad():
            return (call(x),)

    return run


def _step(function: Callable, inputs: Inputs, weight: Tensor, last: int) -> Callable[[], tuple[Tensor, ...]]:
    x, grad = (_formatted(value, last) for value in (inputs.x, inputs.grad))
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()

    def run():
        y = function(x, weight, None, *inputs.geometry)
        return y, *torch.autograd.grad(y, (x, weight), grad)

    return run
