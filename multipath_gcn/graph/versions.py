"""Whether a tensor is still what it was: the same object, unchanged in place."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch_geometric import EdgeIndex

T = TypeVar("T")


def versions(*tensors: Tensor | None) -> tuple[int, ...] | None:
    """How often each tensor was written to, or ``None`` where that is not known.

    That is inside a trace, and for tensors made in inference mode, which do not count it. Writing through ``.data`` or
    NumPy is counted nowhere.
    """
    if torch.compiler.is_compiling() or any(t is not None and t.is_inference() for t in tensors):
        return None
    return tuple(map(_version, tensors))


def _version(tensor: Tensor | None) -> int:
    if isinstance(tensor, EdgeIndex):  # a wrapper: what it holds may be written to by another name
        return tensor._version + tensor.as_tensor()._version
    return -1 if tensor is None else tensor._version


def lasting(make: Callable[[], T]) -> T:
    """What ``make`` returns, fit to be kept for autograd even if it is inference mode that asks for it first."""
    if not torch.is_inference_mode_enabled():
        return make()
    with torch.inference_mode(False), torch.no_grad():
        return make()
