"""What autocast makes of an operator's tensors: what it makes of those of ``F.linear`` and ``F.conv2d``."""

import torch
from torch import Tensor


def autocast(x: Tensor, *others: Tensor | None, dtype: torch.dtype | None = None) -> tuple[Tensor | None, ...]:
    """``x`` and ``others`` in autocast's type for the device of ``x``, where it is on.

    Tensors of float64 or of whole numbers, None, and what is no tensor (a check names it) stay as they are.

    Args:
        x: the input.
        others: weights, biases.
        dtype: instead of autocast's own: that of a weight which was rearranged in it.
    """
    tensors = x, *others
    if not isinstance(x, Tensor) or x.device.type == "meta" or not torch.is_autocast_enabled(x.device.type):
        return tensors
    dtype = dtype or torch.get_autocast_dtype(x.device.type)
    return tuple(t.to(dtype) if isinstance(t, Tensor) and _is_cast(t) else t for t in tensors)


def _is_cast(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype is not torch.float64
