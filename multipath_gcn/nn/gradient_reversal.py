"""The identity, whose gradient points the other way."""

import torch
from torch import Tensor


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    r"""Gradient reversal of `Ganin and Lempitsky 2015 <https://arxiv.org/abs/1409.7495>`_.

    .. math::
        y = x, \qquad \frac{\partial L}{\partial x} := -s \, \frac{\partial L}{\partial y}

    What comes after it learns to lower a loss, what comes before it to raise that loss, at ``scale`` s. It is no
    gradient of any function, so that derivatives of higher order have no meaning.

    Args:
        x: of any shape.
        scale: s, 0 or more; at 0 what comes before learns nothing.
    """
    return _ReverseGradient.apply(x, scale)


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * grad, None
