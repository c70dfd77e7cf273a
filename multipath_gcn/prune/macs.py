"""Multiply-adds of a call, counted operator by operator, so that nothing is missed that is not a layer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from multipath_gcn.prune.arguments import positional
from multipath_gcn.prune.evaluation import evaluating

Count = Callable[[tuple, Any], int]


def _product(a: int, b: int) -> Count:
    return lambda args, y: args[a].numel() * args[b].shape[-1]


def _convolution(args: tuple, y: Tensor) -> int:
    transposed = args[6] is True
    return (args[0] if transposed else y).numel() * args[1][0].numel()


COUNTS: dict[str, Count] = {
    "aten::mm": _product(0, 1),
    "aten::bmm": _product(0, 1),
    "aten::addmm": _product(1, 2),
    "aten::baddbmm": _product(1, 2),
    "aten::_addmm_activation": _product(1, 2),
    "aten::mv": lambda args, y: args[0].numel(),
    "aten::linear": lambda args, y: args[0].numel() * args[1].shape[0],
    "aten::convolution": _convolution,
    "aten::conv2d": lambda args, y: y.numel() * args[1][0].numel(),
    "multipath_gcn::grouped_conv2d": lambda args, y: y.numel() * args[1][0].numel(),
    "multipath_gcn::channel_transform": lambda args, y: y.numel() * args[1].shape[1],
    "multipath_gcn::propagate": lambda args, y: args[2].numel() * args[0].shape[1],  # an edge, a column
    "multipath_gcn::propagate_activated": lambda args, y: args[2].numel() * args[0].shape[1],
}


class _Counter(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        count = COUNTS.get(func._schema.name)
        if count is not None:
            first = out[0] if isinstance(out, (tuple, list)) else out
            self.total += count(positional(func, args, kwargs or {}), first)
        return out


def macs(model: nn.Module, *inputs: Any) -> int:
    """Multiply-adds of one call: of matrix products, convolutions, channel transforms, and propagation in our kernels.

    Args:
        model: is run once in evaluation mode, on the path that training takes; its modes are restored.
        inputs: what its ``forward`` takes.
    """
    counter = _Counter()
    with evaluating(model), torch.enable_grad(), counter:
        model(*inputs)
    return counter.total
