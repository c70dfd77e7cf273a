"""Whether a tensor is still what it was: the same object, unchanged in place."""

from torch import Tensor


def versions(*tensors: Tensor | None) -> tuple[int, ...] | None:
    """How often each tensor was written to, or ``None`` if one (made in inference mode) does not count that."""
    if any(t is not None and t.is_inference() for t in tensors):
        return None
    return tuple(-1 if t is None else t._version for t in tensors)
