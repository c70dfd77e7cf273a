"""Sums over the edges of an oriented surface, and their gradient, in plain PyTorch: the definition.

    y[p, k, j, c] = sum_e wave[e, k] (R_e x[q])[j, c]           over the edges e from q to p

R_e leaves component 0 and turns the pair (2m-1, 2m) by the angle whose cos and sin are turn[e, m-1]. ``turn`` and
``wave`` are of the type that sums are kept in.
"""

import torch
from torch import Tensor


def gauge_sums(x, turn, wave, rowptr, col, rowptr_t, col_t, edge_t) -> Tensor:
    target = torch.repeat_interleave(rowptr.diff(), output_size=col.numel())
    sent = wave[:, :, None, None] * _turned(x.to(wave.dtype)[col], turn, 1.0)[:, None]
    return sent.new_zeros(rowptr.numel() - 1, *sent.shape[1:]).index_add_(0, target, sent).to(x.dtype)


def gauge_sums_grad(grad, turn, wave, rowptr, col, rowptr_t, col_t, edge_t) -> Tensor:
    source = torch.repeat_interleave(rowptr_t.diff(), output_size=col_t.numel())
    summed = (wave[edge_t][:, :, None, None] * grad.to(wave.dtype)[col_t]).sum(1)
    sent = _turned(summed, turn[edge_t], -1.0)
    return sent.new_zeros(rowptr_t.numel() - 1, *sent.shape[1:]).index_add_(0, source, sent).to(grad.dtype)


def _turned(x: Tensor, turn: Tensor, sign: float) -> Tensor:
    """[E, 2L+1, C]"""
    cos, sin = turn[:, :, :1], sign * turn[:, :, 1:]
    re, im = x[:, 1::2], x[:, 2::2]
    pairs = torch.stack([cos * re - sin * im, sin * re + cos * im], dim=2)
    return torch.cat([x[:, :1], pairs.flatten(1, 2)], dim=1)
