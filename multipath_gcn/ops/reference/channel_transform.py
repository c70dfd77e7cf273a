"""The channel transform and its gradients in plain PyTorch: the definition that every kernel is tested against.

    y[n, o] = act(bias[o] + sum_{k<K} weight[o, k] * x[n, (start[o] + k) mod C])

Slow, and it holds all O K values of every row at once.
"""

import torch
from torch import Tensor


def channel_transform(x, weight, bias, start, order, channel_dim, relu) -> Tensor:
    y = torch.einsum("...ok,ok->...o", _windows(x, start, weight.size(1), channel_dim), _wide(weight))
    if bias is not None:
        y = y + _wide(bias)
    if relu:
        y = y.relu()
    return _like(x, y, channel_dim)


def channel_transform_input_grad(grad, weight, start, order, in_channels, channel_dim) -> Tensor:
    g = _wide(grad).movedim(channel_dim, -1)
    terms = g.unsqueeze(-1) * _wide(weight)  # [*, O, K]
    channels = _channels(start, weight.size(1), in_channels).flatten()
    total = terms.new_zeros(*g.shape[:-1], in_channels).index_add_(-1, channels, terms.flatten(-2))
    return _like(grad, total, channel_dim)


def channel_transform_weight_grad(grad, x, start, order, width, channel_dim) -> Tensor:
    g = _wide(grad).movedim(channel_dim, -1)
    return torch.einsum("...o,...ok->ok", g, _windows(x, start, width, channel_dim)).to(x.dtype)


def channel_transform_out(out, *args) -> None:
    out.copy_(channel_transform(*args))


def channel_transform_input_grad_out(out, *args) -> None:
    out.copy_(channel_transform_input_grad(*args))


def channel_transform_pack(weight, start, order, in_channels) -> Tensor:
    return weight.flatten().clone(memory_format=torch.contiguous_format).view(torch.uint8)


def channel_transform_packed(x, packed, bias, start, order, out_channels, width, channel_dim, relu) -> Tensor:
    weight = packed.view(x.dtype).view(out_channels, width)
    return channel_transform(x, weight, bias, start, order, channel_dim, relu)


def _channels(start: Tensor, width: int, in_channels: int) -> Tensor:
    """[O, K]: what every filter reads, in its order."""
    return (start.long()[:, None] + torch.arange(width, device=start.device)) % in_channels


def _windows(x: Tensor, start: Tensor, width: int, channel_dim: int) -> Tensor:
    """[*, O, K]: the values that every filter reads."""
    return _wide(x).movedim(channel_dim, -1)[..., _channels(start, width, x.size(channel_dim))]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _like(x: Tensor, rows: Tensor, channel_dim: int) -> Tensor:
    """Results of the type of ``x``; images lie in memory as ``x`` does."""
    y = rows.movedim(-1, channel_dim).to(x.dtype)
    return y.contiguous(memory_format=memory_format(x, channel_dim))


def memory_format(x: Tensor, channel_dim: int) -> torch.memory_format:
    planar = channel_dim == -1 or x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last)
    return torch.contiguous_format if planar else torch.channels_last
