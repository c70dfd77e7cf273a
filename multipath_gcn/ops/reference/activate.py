"""y[i, f] = drop(relu(x[i, f] + bias[f])) and its gradient in plain PyTorch.

    drop(v) = v / (1 - p) where u[i, f] >= floor(p 2^32), else 0

u is the counter-based generator Philox4x32-10 of Salmon et al. (SC 2011) with the 64 bits of ``seed`` as its key: word
(f / 16) mod 4 of the block with the counter (16 (f / 64) + f mod 16, i mod 2^32, i / 2^32, 0). It depends on the seed
and the place alone: the same mask on every device, with any number of threads.

``kept`` is uint8 [N, ceil(F / 8)]: bit f mod 8 of byte f / 8 says that y[i, f] has a slope. It is empty ([0]) where
every value has: neither relu nor dropout.
"""

import torch
from torch import Tensor

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF


def activate(x, bias, relu, dropout, seed) -> tuple[Tensor, Tensor]:
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    if bias is not None:
        y = y + bias.to(y.dtype)
    if not relu and dropout == 0:
        return y.to(x.dtype), x.new_empty(0, dtype=torch.uint8)
    kept = torch.ones(y.shape, dtype=torch.bool, device=y.device)
    if relu:
        y, kept = y.relu(), y > 0
    if dropout > 0:
        mask = dropout_mask(y.shape, dropout, seed)
        y, kept = torch.where(mask, y * (1 / (1 - dropout)), 0), kept & mask
    return y.to(x.dtype), pack_bits(kept)


def activate_grad(grad, kept, dropout) -> tuple[Tensor, Tensor]:
    dx = grad.to(torch.promote_types(grad.dtype, torch.float32), copy=True)  # a result shares no memory
    if kept.numel():
        dx = torch.where(unpack_bits(kept, grad.size(1)), dx * (1 / (1 - dropout)), 0)
    return dx.to(grad.dtype), dx.sum(0).to(grad.dtype)


def activate_out(out, *args) -> Tensor:
    y, kept = activate(*args)
    out.copy_(y)
    return kept


def activate_bias_grad(grad, kept, dropout) -> Tensor:
    return activate_grad(grad, kept, dropout)[1]


def combine(parts, scale) -> Tensor:
    """y[i, f] = scale sum_p parts_p[i, f]"""
    wide = torch.promote_types(parts[0].dtype, torch.float32)
    return (sum(part.to(wide) for part in parts) * scale).to(parts[0].dtype)


def dropout_mask(shape, dropout: float, seed: Tensor) -> Tensor:
    """bool [N, F]: what :math:`\\mathrm{drop}` keeps."""
    rows = torch.arange(shape[0], device=seed.device)[:, None]
    columns = torch.arange(shape[1], device=seed.device)
    block = columns // 64 * 16 + columns % 16
    counter = (c.expand(*shape) for c in (block, rows & _LOW, rows >> 32, torch.zeros_like(block)))
    words = torch.stack(philox(*counter, seed))
    word = (columns // 16 % 4).expand(1, *shape)
    return words.gather(0, word)[0] >= int(dropout * 2**32)


def philox(c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, seed: Tensor) -> tuple[Tensor, ...]:
    """The four 32-bit words of every block (c0, c1, c2, c3), as int64."""
    k0, k1 = seed & _LOW, (seed >> 32) & _LOW
    for _ in range(10):
        (high0, low0), (high1, low1) = _product(c0, _MULTIPLIERS[0]), _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def _product(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    low, high = (a & 0xFFFF) * b, (a >> 16) * b  # 48 bits each: int64 does not overflow
    return (high + (low >> 16)) >> 16, ((high << 16) + low) & _LOW


def pack_bits(bits: Tensor) -> Tensor:
    """uint8 [N, ceil(F / 8)] of bool [N, F], the lowest bit first."""
    padded = torch.nn.functional.pad(bits, (0, -bits.size(1) % 8)).unflatten(1, (-1, 8))
    weights = 2 ** torch.arange(8, device=bits.device, dtype=torch.uint8)
    return (padded * weights).sum(-1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, columns: int) -> Tensor:
    bits = packed.unsqueeze(-1) >> torch.arange(8, device=packed.device, dtype=torch.uint8) & 1
    return bits.flatten(1)[:, :columns].bool()
