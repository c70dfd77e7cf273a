"""Gradients of any order for operators that are linear in two tensors: y of x and weight.

The sum over all products y x weight is trilinear: each of three operators takes two of these and gives the derivative
by the third, so that derivatives of any order are the same three again. A class of our own, called below autograd's
key, costs a quarter of what register_autograd adds to every call.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

OPERANDS = {"y": ("x", "weight"), "x": ("y", "weight"), "weight": ("y", "x")}


class Trilinear(NamedTuple):
    """What such operators are to autograd; ``sizes`` is whatever they need besides tensors.

    Args:
        compute: what stands in a place, from its two :data:`OPERANDS`, as (place, a, b, sizes, bias, relu).
        bias_grad: the gradient by the bias, as (grad, sizes).
        gradients: those by x and by weight in one call, as (grad, x, weight, sizes), where that is worth having.
    """

    compute: Callable[..., Tensor]
    bias_grad: Callable[[Tensor, Any], Tensor]
    gradients: Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Tensor]] | None = None

    def derive(self, place: str, a: Tensor, b: Tensor, sizes, bias: Tensor | None = None, relu: bool = False) -> Tensor:
        """What stands in ``place``, with all its derivatives."""
        if has_gradient(a, b, bias):
            return _Function.run(a, b, bias, self, place, sizes, relu)
        with torch._C._AutoDispatchBelowAutograd():
            return self.compute(place, a, b, sizes, bias, relu)


def has_gradient(a: Tensor, b: Tensor, c: Tensor | None) -> bool:
    wanted = a.requires_grad or b.requires_grad or (c is not None and c.requires_grad)
    return wanted and torch.is_grad_enabled()


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, bias, operators, place, sizes, relu):
        with torch._C._AutoDispatchBelowAutograd():
            result = operators.compute(place, a, b, sizes, bias, relu)
        ctx.operators, ctx.place, ctx.sizes = operators, place, sizes
        ctx.save_for_backward(
            a if ctx.needs_input_grad[1] else None, b if ctx.needs_input_grad[0] else None, result if relu else None
        )
        return result

    @staticmethod
    def backward(ctx, grad):
        a, b, result = ctx.saved_tensors
        operators, sizes = ctx.operators, ctx.sizes
        if result is not None:  # relu; detached, since the mask itself has no slope
            grad = torch.ops.aten.threshold_backward(grad, result.detach(), 0)
        needs_a, needs_b, needs_bias, *_ = ctx.needs_input_grad
        in_one = operators.gradients is not None and ctx.place == "y" and needs_a and needs_b
        if in_one and not torch.is_grad_enabled():
            with torch._C._AutoDispatchBelowAutograd():
                grad_a, grad_b = operators.gradients(grad, a, b, sizes)
        else:
            first, second = OPERANDS[ctx.place]
            known = {ctx.place: grad, first: a, second: b}
            grad_a, grad_b = (
                operators.derive(name, *(known[operand] for operand in OPERANDS[name]), sizes) if needed else None
                for name, needed in ((first, needs_a), (second, needs_b))
            )
        return grad_a, grad_b, operators.bias_grad(grad, sizes) if needs_bias else None, None, None, None, None


# Function.apply serves torch.func before it calls this: a fifth of the time of a small call
_Function.run = super(torch.autograd.Function, _Function).apply
