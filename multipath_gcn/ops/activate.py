r"""y = drop(act(x + bias)) in one pass, its gradient from one bit per value; sums of several tensors in one pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from multipath_gcn import _native
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.reference import activate as definition

DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.float16)


def activate(
    x: Tensor,
    bias: Tensor | None = None,
    activation: str | None = "relu",
    dropout: float = 0.0,
    seed: Tensor | None = None,
) -> Tensor:
    r"""Bias, activation and dropout.

    .. math::
        y_{if} = m_{if} \, \phi(x_{if} + b_f) / (1 - p), \qquad m_{if} = [\, u_{if} \ge p \,]

    u is drawn by the counter-based generator Philox4x32-10 (Salmon et al., SC 2011) from the seed and the place alone,
    so that a seed gives the same mask on every device and with any number of threads: :func:`dropout_mask`.

    Args:
        x: (\*, F); the leading dimensions count as one.
        bias: (F), or ``None``.
        activation: :math:`\phi`: ``"relu"``, or ``None`` for none.
        dropout: p in [0, 1).
        seed: one int64; ``None`` draws one from PyTorch's generator of the device.

    Shapes:
        - **output:** (\*, F), of the type of ``x``.

    Raises:
        ValueError: for an argument that does not fit.
    """
    check_type("x", x)
    if x.dim() == 0:
        raise ValueError("x must have shape (*, F), got []")
    if bias is None and activation is None and dropout == 0:
        return x
    last = arguments(x, x.size(-1), bias, activation, dropout, seed)
    rows = x if x.dim() == 2 else x.flatten(0, -2) if x.dim() > 2 else x.unsqueeze(0)
    return OPS.activate(rows, *last)[0].view(x.shape)


def combine(parts: Sequence[Tensor], scale: float = 1.0) -> Tensor:
    r"""The scaled sum of several tensors in one pass, kept in float32 at least: :math:`y = s \sum_p x_p`.

    Args:
        parts: of one shape (\*, F) and device; of several types the widest is the result's.
        scale: s.

    Raises:
        ValueError: when ``parts`` are none, or differ.
    """
    if not isinstance(parts, list | tuple):
        raise ValueError(f"parts must be a list of tensors, got {type(parts).__name__}")
    if not parts:
        raise ValueError("parts must hold at least one tensor, got none")
    for part in parts:
        check_type("parts", part)
    first, dtype = parts[0], parts[0].dtype
    for part in parts:
        dtype = torch.promote_types(dtype, part.dtype)
        if part.shape != first.shape or part.device != first.device:
            got = f"{list(part.shape)} on {part.device} and {list(first.shape)} on {first.device}"
            raise ValueError(f"parts must be of one shape and on one device, got {got}")
    if len(parts) == 1 and scale == 1:
        return first
    parts = [part.to(dtype) for part in parts]
    if first.dim() == 0:
        return OPS.combine([part.view(1, 1) for part in parts], float(scale)).view(())
    rows = [part.flatten(0, -2) if part.dim() > 1 else part.unsqueeze(0) for part in parts]
    return OPS.combine(rows, float(scale)).view(first.shape)


def dropout_mask(shape: tuple[int, int], dropout: float, seed: Tensor) -> Tensor:
    """bool [N, F]: the values that :func:`activate` and :func:`~multipath_gcn.ops.propagate` keep with this seed."""
    return definition.dropout_mask(shape, dropout, seed)


def draw_seed(device: torch.device) -> Tensor:
    """One int64 from PyTorch's generator of the device, without waiting for it."""
    return torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64, device=device)  # random_() breaks a trace


def arguments(x: Tensor, features: int, bias, activation, dropout, seed) -> tuple:
    """bias, relu, dropout and seed as the operators take them, checked."""
    if activation is not None and activation != "relu":
        raise ValueError(f'activation must be None or "relu", got {activation!r}')
    if not isinstance(dropout, (int, float)) or not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout must lie in [0, 1), got {dropout!r}")
    for name, tensor in (("bias", bias), ("seed", seed)):
        if tensor is not None and not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor or None, got {type(tensor).__name__}")
    if bias is not None:
        if bias.shape != (features,):
            raise ValueError(f"bias must have shape [{features}], got {list(bias.shape)}")
        if bias.device != x.device:
            raise ValueError(f"bias must be on the device of x ({x.device}), got {bias.device}")
        bias = bias.to(x.dtype)
    if dropout == 0:
        seed = None
    elif seed is None:
        seed = draw_seed(x.device)
    elif seed.dtype != torch.int64 or seed.numel() != 1 or seed.device != x.device:
        raise ValueError(f"seed must be one int64 on {x.device}, got {seed.dtype} {list(seed.shape)} on {seed.device}")
    return bias, activation is not None, float(dropout), seed


def check_type(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(x).__name__}")
    if x.dtype not in DTYPES or (x.dtype is torch.float16 and x.device.type == "cpu"):
        names = "float32, float64, bfloat16" + (" or float16" if x.device.type != "cpu" else "")
        raise ValueError(f"{name} must be of type {names} on {x.device.type}, got {x.dtype}")
    if x.layout is not torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got layout {x.layout}")


def empty_kept(y: Tensor, relu: bool, dropout: float) -> Tensor:
    shape = (y.size(0), (y.size(1) + 7) // 8) if relu or dropout > 0 else (0,)
    return y.new_empty(shape, dtype=torch.uint8)


def gradients(grad: Tensor, kept: Tensor, dropout: float, wants_bias: bool) -> tuple[Tensor, Tensor | None]:
    """By what went into the activation, and by bias."""
    if kept.dim() == 1:  # every value has a slope of 1
        return grad, grad.sum(0) if wants_bias else None
    dx, dbias = OPS.activate_grad(grad, kept, dropout)
    return dx, dbias if wants_bias else None


def _setup(ctx, inputs, output) -> None:
    ctx.dropout = inputs[3]
    ctx.save_for_backward(output[1])


def _backward(ctx, grad, _):
    return *gradients(grad, *ctx.saved_tensors, ctx.dropout, ctx.needs_input_grad[1]), None, None, None


def _setup_grad(ctx, inputs, output) -> None:
    ctx.dropout = inputs[2]
    ctx.save_for_backward(inputs[1])


def _backward_grad(ctx, dd, dd_bias):
    return gradients(dd + dd_bias, *ctx.saved_tensors, ctx.dropout, False)[0], None, None


def _setup_combine(ctx, inputs, output) -> None:
    ctx.parts, ctx.scale = len(inputs[0]), inputs[1]


def _backward_combine(ctx, grad):
    return [grad if ctx.scale == 1 else grad * ctx.scale] * ctx.parts, None


torch.library.register_autograd("multipath_gcn::combine", _backward_combine, setup_context=_setup_combine)
torch.library.register_autograd("multipath_gcn::activate", _backward, setup_context=_setup)
torch.library.register_autograd("multipath_gcn::activate_grad", _backward_grad, setup_context=_setup_grad)


@torch.library.register_fake("multipath_gcn::activate")
def _(x, bias, relu, dropout, seed):
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    return y, empty_kept(y, relu, dropout)


@torch.library.register_fake("multipath_gcn::activate_grad")
def _(grad, kept, dropout):
    return torch.empty_like(grad, memory_format=torch.contiguous_format), grad.new_empty(grad.size(1))


if _native.mode() == "native":  # PyTorch's own operators add up on CUDA
    torch.library.impl("multipath_gcn::combine", "CUDA")(definition.combine)


@torch.library.register_fake("multipath_gcn::combine")
def _(parts, scale):
    return torch.empty_like(parts[0], memory_format=torch.contiguous_format)
