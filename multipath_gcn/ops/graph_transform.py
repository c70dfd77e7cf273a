r"""y = drop(act(A X Wᵀ + b)) on large graphs on the CPU: what lies between its steps, forward and backward, takes
memory that the graph keeps for it, so that a training step touches little memory but its results.

Memory that is new to a process costs more than what is computed in it: it is zeroed, and found, page by page.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack

from multipath_gcn.graph import Graph
from multipath_gcn.ops.activate import arguments, gradients
from multipath_gcn.ops.autocast import autocast
from multipath_gcn.ops.channel_transform import ROWS, check, stock_is_best
from multipath_gcn.ops.native import OPS
from multipath_gcn.windows import ChannelWindows

LEAST = 2**21  # values from which on it is worth it
TILE = 2**20  # values of which what lies between two steps is held, where one needs no more than the other's rows


def is_worth_it(graph: Graph, x: Tensor) -> bool:
    plain = x.device.type == "cpu" and x.dim() == 2 and type(x) is Tensor and not torch.compiler.is_compiling()
    if not plain or is_followed():
        return False
    return x.numel() >= LEAST and graph.rank is None and not graph.requires_grad


def is_followed() -> bool:
    """Whether somebody counts or follows operators, who is shown those that have a meaning."""
    return not torch.compiler.is_compiling() and _len_torch_dispatch_stack() > 0


def propagate_large(matrix: Graph, x: Tensor) -> Tensor:
    """``propagate(matrix, x)``"""
    operands = matrix.operands(x.dtype, torch.is_grad_enabled() and x.requires_grad)
    return _Propagate.apply(x, operands, matrix.workspace)


def transform_propagate(
    matrix: Graph, x: Tensor, weight: Tensor, windows: ChannelWindows, bias, activation, dropout: float
) -> Tensor:
    """``propagate(matrix, channel_transform(x, weight, windows), bias=bias, activation=..., dropout=...)``"""
    x, weight, bias, last = _prepared(x, weight, windows, bias, activation, dropout)
    operands = matrix.operands(x.dtype, torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
    return _TransformPropagate.apply(x, weight, bias, windows, operands, matrix.workspace, last)


def transform_activate(
    matrix: Graph, x: Tensor, weight: Tensor, windows: ChannelWindows, bias, activation, dropout: float
) -> Tensor:
    """``activate(channel_transform(x, weight, windows), bias, activation, dropout)``"""
    x, weight, bias, last = _prepared(x, weight, windows, bias, activation, dropout)
    return _TransformActivate.apply(x, weight, bias, windows, matrix.workspace, last)


def keeps_no_values(y: Tensor) -> bool:
    """Whether ``y`` is the result of a layer above, of which only a bit per value is kept for its gradient."""
    if torch.compiler.is_compiling():  # which comes to no such layer
        return False
    return type(y.grad_fn) in (_TransformPropagate._backward_cls, _TransformActivate._backward_cls)


class _Propagate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, operands, workspace):
        ctx.operands, ctx.workspace = operands, workspace
        y = workspace.empty((operands[0].numel() - 1, x.size(1)), x.dtype)
        OPS.propagate_out(y, x, *operands[:5], None, 0.0)
        return y

    @staticmethod
    def backward(ctx, grad):
        rowptr, col, w, row_scale, col_scale, rowptr_t, col_t, weight_t = ctx.operands
        transposed = rowptr_t, col_t, weight_t, col_scale, row_scale
        if torch.is_grad_enabled():
            return OPS.propagate(grad, *transposed, rowptr, col, w), None, None
        dx = ctx.workspace.empty((rowptr_t.numel() - 1, grad.size(1)), grad.dtype)
        OPS.propagate_out(dx, grad, *transposed, None, 0.0)
        return dx, None, None


class _TransformPropagate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, windows, operands, workspace, last):
        ctx.windows, ctx.operands, ctx.workspace, ctx.dropout = windows, operands, workspace, last[1]
        t = _transform(x, weight, windows, workspace.empty((x.size(0), weight.size(0)), x.dtype))
        y = workspace.empty((operands[0].numel() - 1, t.size(1)), t.dtype)
        kept = OPS.propagate_activated_out(y, t, *operands[:5], bias, *last)
        ctx.save_for_backward(x, weight, kept)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, kept = ctx.saved_tensors
        rowptr, col, w, row_scale, col_scale, rowptr_t, col_t, weight_t = ctx.operands
        transposed = rowptr_t, col_t, weight_t, col_scale, row_scale
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # the gradient is to have one itself
            g, dbias = gradients(grad, kept, ctx.dropout, wants_bias)
            if not (wants_x or wants_weight):
                return None, None, dbias, *[None] * 4
            dt = OPS.propagate(g, *transposed, rowptr, col, w)
            return *_differentiable(x, weight, dt, ctx.windows), dbias, *[None] * 4
        dbias = OPS.activate_bias_grad(grad, kept, ctx.dropout) if wants_bias else None
        if not (wants_x or wants_weight):
            return None, None, dbias, *[None] * 4
        dt = ctx.workspace.empty((x.size(0), grad.size(1)), grad.dtype)
        OPS.propagate_out(dt, grad, *transposed, kept, ctx.dropout)
        dweight = _weight_grad(dt, x, ctx.windows) if wants_weight else None
        dx = _input_grad_in_place(dt, weight, ctx.windows, ctx.workspace) if wants_x else None
        return dx, dweight, dbias, *[None] * 4


class _TransformActivate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, windows, workspace, last):
        ctx.windows, ctx.workspace, ctx.dropout = windows, workspace, last[1]
        y = _transform(x, weight, windows, workspace.empty((x.size(0), weight.size(0)), x.dtype))
        kept = OPS.activate_out(y, y, bias, *last)
        ctx.save_for_backward(x, weight, kept)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, kept = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            g, dbias = gradients(grad, kept, ctx.dropout, wants_bias)
            return *_differentiable(x, weight, g, ctx.windows), dbias, *[None] * 3
        wide = torch.promote_types(grad.dtype, torch.float32)
        dx = ctx.workspace.empty(x.shape, x.dtype) if wants_x else None
        dweight = weight.new_zeros(weight.shape, dtype=wide) if wants_weight else None
        dbias = grad.new_zeros(grad.size(1), dtype=wide) if wants_bias else None
        # What is summed over tiles is rounded once for each: not where that is coarse.
        for rows in _row_tiles(grad) if grad.dtype == wide else [slice(None)]:
            g, sums = gradients(grad[rows], kept[rows], ctx.dropout, wants_bias)
            if wants_bias:
                dbias += sums
            if wants_weight:
                dweight += _weight_grad(g, x[rows], ctx.windows)
            if wants_x:
                _input_grad(g, weight, ctx.windows, dx[rows])
        return dx, _in_type(dweight, weight), _in_type(dbias, grad), *[None] * 3


def _row_tiles(x: Tensor) -> Iterator[slice]:
    step = TILE // x.size(1) + 1
    return (slice(begin, begin + step) for begin in range(0, x.size(0), step))


def _in_type(sums: Tensor | None, like: Tensor) -> Tensor | None:
    return None if sums is None else sums.to(like.dtype)


def _transform(x: Tensor, weight: Tensor, windows: ChannelWindows, out: Tensor) -> Tensor:
    if stock_is_best(x, windows, ROWS):
        return torch.mm(x, weight.t(), out=out)
    OPS.channel_transform_out(out, x, weight, None, *windows.on(x.device), ROWS, False)
    return out


def _input_grad_in_place(grad: Tensor, weight: Tensor, windows: ChannelWindows, workspace) -> Tensor:
    """Where ``grad`` was, if there is room: only what one tile needs is held beside it."""
    if windows.in_channels != windows.out_channels:
        return _input_grad(grad, weight, windows, workspace.empty((grad.size(0), windows.in_channels), grad.dtype))
    for rows in _row_tiles(grad):
        grad[rows] = _input_grad(grad[rows], weight, windows, torch.empty_like(grad[rows]))
    return grad


def _input_grad(grad: Tensor, weight: Tensor, windows: ChannelWindows, out: Tensor) -> Tensor:
    if stock_is_best(grad, windows, ROWS):
        return torch.mm(grad, weight, out=out)
    OPS.channel_transform_input_grad_out(out, grad, weight, *windows.on(grad.device), windows.in_channels, ROWS)
    return out


def _weight_grad(grad: Tensor, x: Tensor, windows: ChannelWindows) -> Tensor:
    if stock_is_best(x, windows, ROWS):
        return torch.mm(grad.t(), x)
    return OPS.channel_transform_weight_grad(grad, x, *windows.on(x.device), windows.width, ROWS)


def _differentiable(x: Tensor, weight: Tensor, grad: Tensor, windows: ChannelWindows) -> tuple[Tensor, Tensor]:
    start, order = windows.on(x.device)
    dx = OPS.channel_transform_input_grad(grad, weight, start, order, windows.in_channels, ROWS)
    return dx, OPS.channel_transform_weight_grad(grad, x, start, order, windows.width, ROWS)


def _prepared(x: Tensor, weight: Tensor, windows: ChannelWindows, bias, activation, dropout: float) -> tuple:
    """x, weight and bias in the type to compute in, and (relu, dropout, seed), all checked."""
    x, weight = autocast(x, weight)
    check(x, weight, None, windows.in_channels, windows.out_channels, windows.width, ROWS)
    bias, *last = arguments(x, weight.size(0), bias, activation, dropout, None)
    return x, weight, bias, tuple(last)
