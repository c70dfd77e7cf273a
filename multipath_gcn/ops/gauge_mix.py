"""y[o] = h[o] M[o]^T + x[o] S[o]^T + b[o], a product for each order o, read and written where the orders lie."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from multipath_gcn.ops.autocast import autocast


def mix_orders(h: Tensor, x: Tensor, bias: Tensor | None, matrices: Sequence[Tensor], own: Sequence[Tensor]) -> Tensor:
    r"""Applies a matrix to every order of the sums over neighbours, and one to those of the vertex itself.

    .. math::
        y_o = M_o h_o + S_o x_o + [o = 0] \, b

    Orders are neither cut out of one tensor nor put together into another, nor are their gradients.

    Args:
        h: sums [N, 2L'+1, 2L+1, C]: 1 row of the second dimension for order 0, 2 for each further one.
        x: features [N, 2L+1, C].
        bias: [C'] or None.
        matrices: M of the orders 0 to L', [rows C', rows (2L+1) C].
        own: S of the orders that input and output share, [rows C', rows C].

    Returns:
        y [N, 2L'+1, C'].
    """
    h, x, bias, *both = autocast(h, x, bias, *matrices, *own)
    return _Mix.apply(h, x, bias, len(matrices), *both)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, x: Tensor, bias: Tensor | None, count: int, *matrices: Tensor) -> Tensor:
        ctx.save_for_backward(h, x, *matrices)
        ctx.count = count
        y = h.new_empty(len(h), h.size(1), len(matrices[0]))
        for n, matrix in enumerate(matrices):
            source, order = (h, n) if n < count else (x, n - count)
            _rows(y, order).addmm_(
                _rows(source, order), matrix.T, beta=int(n >= count)
            )  # 0: what was there is not read
        if bias is not None:
            y[:, 0] += bias
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, x, *matrices = ctx.saved_tensors
        grad = grad.contiguous()
        of_h, of_x = matrices[: ctx.count], matrices[ctx.count :]
        needs = ctx.needs_input_grad
        return (
            _joined(grad, of_h, h) if needs[0] else None,
            _joined(grad, of_x, x) if needs[1] else None,
            grad[:, 0].sum(dim=0) if needs[2] else None,
            None,
            *(_rows(grad, n).T @ _rows(h, n) if needs[4 + n] else None for n in range(len(of_h))),
            *(_rows(grad, n).T @ _rows(x, n) if needs[4 + ctx.count + n] else None for n in range(len(of_x))),
        )


def _rows(values: Tensor, order: int) -> Tensor:
    """[N, .]: the numbers of an order."""
    return values[:, max(0, 2 * order - 1) : 2 * order + 1].flatten(1)


def _joined(grad: Tensor, matrices: Sequence[Tensor], like: Tensor) -> Tensor:
    """The gradient by h or x: the product of every order; 0 for those without a matrix."""
    if torch.is_grad_enabled():  # it will be derived again
        parts = [(_rows(grad, n) @ matrix).unflatten(1, (-1, *like.shape[2:])) for n, matrix in enumerate(matrices)]
        missing = like.size(1) - (2 * len(matrices) - 1)
        return torch.cat([*parts, like.new_zeros(len(like), missing, *like.shape[2:])], dim=1)
    found = like.new_empty(like.shape)
    for n, matrix in enumerate(matrices):
        _rows(found, n).addmm_(_rows(grad, n), matrix, beta=0)
    found[:, 2 * len(matrices) - 1 :] = 0
    return found
