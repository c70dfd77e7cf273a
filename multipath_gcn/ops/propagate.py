r"""y[i] = reduce_{j in row i} A[i, j] x[j] over the stored entries of a :class:`~multipath_gcn.graph.Graph`.

One story in reading order: public functions, the check, gradients and shapes of the operators.
"""

import weakref

import torch
from torch import Tensor

from multipath_gcn.graph import Graph
from multipath_gcn.ops.activate import activate, arguments, check_type, empty_kept, gradients
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.reference.propagate import entries

REDUCTIONS = ("sum", "mean", "max", "min")


def propagate(
    graph: Graph,
    x: Tensor,
    reduce: str = "sum",
    *,
    bias: Tensor | None = None,
    activation: str | None = None,
    dropout: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    r"""Aggregates the weighted features of each node's neighbours.

    .. math::
        y_i = \mathrm{drop}\Big(\phi\Big(b + \bigoplus_{j \in \mathcal{N}(i)} A_{ij} \, x_j\Big)\Big)

    The mean divides by the number of stored entries of the row; an empty row aggregates to 0. Of equal values max and
    min have the gradient of the first. Sums are kept in float32, of float64 in float64; results are the same bits for
    any number of threads. Bias, activation and dropout are part of the store.

    Args:
        graph: the matrix A of shape [N, M].
        x: node features (\*, M, F): float32, float64, bfloat16 or, on CUDA, float16.
        reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.
        bias, activation, dropout, seed: as for :func:`~multipath_gcn.ops.activate`, which is applied to (N, F).

    Shapes:
        - **output:** (\*, N, F), of the type of ``x``.

    Raises:
        ValueError: for an unknown ``reduce``, when ``x`` does not have M rows, or where the graph is on another device.
    """
    check(graph, x, reduce)
    if graph.rank is not None:
        inner = graph.inner
        y = propagate(inner, graph.enter(x), reduce)
        return activate(graph.leave(y), bias, activation, dropout, seed)
    if x.dim() > 2:  # one graph, many feature sets: the leading dimensions become columns
        columns = x.movedim(-2, 0)
        y = propagate(graph, columns.flatten(1), reduce)
        return activate(y.unflatten(1, columns.shape[1:]).movedim(0, -2), bias, activation, dropout, seed)
    if reduce in ("max", "min"):
        return activate(_extreme(graph, x, reduce), bias, activation, dropout, seed)
    matrix = graph if reduce == "sum" else graph.averaged()
    gradient = torch.is_grad_enabled() and (x.requires_grad or graph.requires_grad)
    operands = matrix.operands(x.dtype, gradient)
    if bias is None and activation is None and dropout == 0:
        return OPS.propagate(x, *operands)
    last = arguments(x, x.size(1), bias, activation, dropout, seed)
    return OPS.propagate_activated(x, *operands, *last)[0]


def keep_product(graph: Graph, x: Tensor, base: Tensor | None = None) -> None:
    """Declares that features will not change: the first graph convolution of them computes Â x, later ones find it.

    It is kept for this very tensor and this graph, until one of the two is changed in place or gone.

    Args:
        base: a tensor of which the same was said, equal to the first columns of ``x``: its product is used again.
    """
    check(graph, x, "sum")
    if base is not None:
        check_type("base", base)
        if base.dim() != 2 or x.dim() != 2 or base.size(0) != x.size(0) or base.size(1) > x.size(1):
            got = f"{list(base.shape)} and {list(x.shape)}"
            raise ValueError(f"base must be the first columns of x, both of two dimensions, got {got}")
    base = None if base is None else weakref.ref(base)
    graph.products.put(x, graph.state, lambda x: _product(graph, x, base))


def _product(graph: Graph, x: Tensor, base: weakref.ref | None) -> Tensor:
    base = None if base is None else base()
    known = None if base is None else graph.products.get(base, graph.state)
    with torch.no_grad():
        if known is None:
            return propagate(graph, x)
        return torch.cat([known, propagate(graph, x[:, base.size(1) :])], dim=1)


def kept_product(graph: Graph, x: Tensor | Graph) -> Tensor | None:
    """Â x where :func:`keep_product` has declared it, else ``None``."""
    if not isinstance(x, Tensor) or torch.compiler.is_compiling() or x.requires_grad:
        return None
    return graph.products.get(x, graph.state)


def _extreme(graph: Graph, x: Tensor, reduce: str) -> Tensor:
    if graph.requires_grad and graph.num_entries:  # the gradient of weights is left to composed operators
        return _extreme_of_weights(graph, x, reduce)
    gradient = torch.is_grad_enabled() and x.requires_grad
    return OPS.propagate_extreme(x, *graph.operands(x.dtype, gradient), reduce == "max")[0]


def _extreme_of_weights(graph: Graph, x: Tensor, reduce: str) -> Tensor:
    """A[i, j] x[j, f] of the j found by the operator."""
    with torch.no_grad():
        source = OPS.propagate_extreme(x, *graph.operands(x.dtype, False), reduce == "max")[1].long()
    first, j = torch.arange(source.size(0), device=x.device)[:, None] * graph.shape[1], source.clamp(min=0)
    entry = torch.searchsorted(graph.row * graph.shape[1] + graph.col, first + j).clamp(max=graph.num_entries - 1)
    wide = torch.promote_types(x.dtype, torch.float32)
    y = graph.value.to(wide)[entry] * x.to(wide).gather(0, j)
    return torch.where(source >= 0, y, 0).to(x.dtype)


# Meaning


def check(graph: Graph, x: Tensor, reduce: str) -> None:
    if not isinstance(graph, Graph):
        raise ValueError(f"graph must be a Graph, got {type(graph).__name__}")
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce must be one of {list(REDUCTIONS)}, got {reduce!r}")
    check_type("x", x)
    if x.dim() < 2 or x.size(-2) != graph.shape[1]:
        raise ValueError(f"x must have shape (*, {graph.shape[1]}, F), got {list(x.shape)}")
    if graph.device != x.device:
        raise ValueError(f"graph must be on the device of x ({x.device}), got {graph.device}")


# Gradients: those of a sum are sums over the transpose, those of an extreme go back where it came from.

MATRIX, TRANSPOSED = slice(0, 5), slice(5, 8)


def _transpose(operands: tuple) -> tuple:
    rowptr, col, weight, row_scale, col_scale, rowptr_t, col_t, weight_t = operands
    if rowptr_t is None:
        raise RuntimeError("the gradient of propagate needs the transposed matrix, got none")
    return rowptr_t, col_t, weight_t, col_scale, row_scale, rowptr, col, weight


def _save(ctx, x: Tensor, operands: tuple, *more: Tensor) -> None:
    weight = operands[2]
    by_weight = weight is not None and weight.requires_grad
    ctx.save_for_backward(x if by_weight else None, *operands, *more)


def _sum_grads(x: Tensor | None, operands: tuple, grad: Tensor, wants_x: bool) -> tuple:
    """By x and by weight."""
    dx = OPS.propagate(grad, *_transpose(operands)) if wants_x else None
    if x is None:
        return dx, None
    rowptr, col, _, row_scale, col_scale, *_ = operands
    return dx, OPS.propagate_weight_grad(grad, x, rowptr, col, row_scale, col_scale)


def _setup_sum(ctx, inputs, output) -> None:
    _save(ctx, inputs[0], inputs[1:])


def _backward_sum(ctx, grad):
    x, *operands = ctx.saved_tensors
    dx, dweight = _sum_grads(x, operands, grad, ctx.needs_input_grad[0])
    return dx, None, None, dweight, *[None] * 5


def _setup_activated(ctx, inputs, output) -> None:
    x, *rest = inputs
    ctx.bias, ctx.dropout = rest[8] is not None, rest[10]
    _save(ctx, x, tuple(rest[:8]), output[1])


def _backward_activated(ctx, grad, _):
    x, *operands, kept = ctx.saved_tensors
    grad, dbias = gradients(grad, kept, ctx.dropout, ctx.needs_input_grad[9])
    dx, dweight = _sum_grads(x, operands, grad, ctx.needs_input_grad[0])
    return dx, None, None, dweight, *[None] * 5, dbias, None, None, None


def _setup_weight_grad(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward_weight_grad(ctx, dd):
    """dweight = S(grad, x) is linear in both: its gradients are sums over the matrix with the weights ``dd``."""
    grad, x, rowptr, col, row_scale, col_scale = ctx.saved_tensors
    matrix = Graph._of(rowptr, col, dd, (grad.size(0), x.size(0)), row_scale, col_scale, False)
    operands = matrix.operands(dd.dtype)
    dgrad = OPS.propagate(x, *operands) if ctx.needs_input_grad[0] else None
    dx = OPS.propagate(grad, *_transpose(operands)) if ctx.needs_input_grad[1] else None
    return dgrad, dx, None, None, None, None


def _setup_extreme(ctx, inputs, output) -> None:
    ctx.save_for_backward(output[1], *inputs[1:9])


def _backward_extreme(ctx, grad, _):
    source, *operands = ctx.saved_tensors
    dx = OPS.propagate_extreme_grad(grad, source, *_transpose(operands)[:5]) if ctx.needs_input_grad[0] else None
    return dx, *[None] * 9


def _setup_extreme_grad(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[1:])


def _backward_extreme_grad(ctx, dd):
    """dx is linear in grad: dgrad[i, f] = A[i, j] dd[j, f] for the j that [i, f] came from."""
    source, rowptr, col, *values = ctx.saved_tensors
    row, value = entries(rowptr, col, *values, dd)
    taken = torch.where(source.long()[col.long()] == row[:, None], dd.to(value.dtype)[row], 0)
    dgrad = value.new_zeros(source.shape).index_add(0, col.long(), value[:, None] * taken)
    return dgrad.to(dd.dtype), *[None] * 6


for _name, _backward, _setup in (
    ("propagate", _backward_sum, _setup_sum),
    ("propagate_activated", _backward_activated, _setup_activated),
    ("propagate_weight_grad", _backward_weight_grad, _setup_weight_grad),
    ("propagate_extreme", _backward_extreme, _setup_extreme),
    ("propagate_extreme_grad", _backward_extreme_grad, _setup_extreme_grad),
):
    torch.library.register_autograd(f"multipath_gcn::{_name}", _backward, setup_context=_setup)


@torch.library.register_fake("multipath_gcn::propagate")
def _(x, rowptr, *_rest):
    return x.new_empty(rowptr.size(0) - 1, x.size(1))


@torch.library.register_fake("multipath_gcn::propagate_activated")
def _(x, rowptr, col, weight, row_scale, col_scale, rowptr_t, col_t, weight_t, bias, relu, dropout, seed):
    y = x.new_empty(rowptr.size(0) - 1, x.size(1))
    return y, empty_kept(y, relu, dropout)


@torch.library.register_fake("multipath_gcn::propagate_weight_grad")
def _(grad, x, rowptr, col, row_scale, col_scale):
    return x.new_empty(col.size(0), dtype=torch.promote_types(x.dtype, torch.float32))


@torch.library.register_fake("multipath_gcn::propagate_extreme")
def _(x, rowptr, *_rest):
    y = x.new_empty(rowptr.size(0) - 1, x.size(1))
    return y, torch.empty_like(y, dtype=torch.int32)


@torch.library.register_fake("multipath_gcn::propagate_extreme_grad")
def _(grad, source, rowptr, *_rest):
    return grad.new_empty(rowptr.size(0) - 1, grad.size(1))
