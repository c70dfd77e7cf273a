"""Results kept for tensors that do not change: made at first use, found by the tensor itself, gone with it."""

import weakref
from collections.abc import Callable

from torch import Tensor

from multipath_gcn.graph.versions import lasting, versions


class _Entry:
    def __init__(self, reference: weakref.ref, seen: tuple, make: Callable[[Tensor], Tensor]):
        self.reference, self.seen, self.make = reference, seen, make
        self.product: Tensor | None = None


class Products:
    """From a tensor, as it was when put here, to what is made of it."""

    def __init__(self):
        self._known: dict[int, _Entry] = {}

    def put(self, x: Tensor, state: tuple | None, make: Callable[[Tensor], Tensor]) -> None:
        """``make(x)`` is called once, when its result is first asked for, with the same ``state`` and ``x``."""
        counted = versions(x)
        if counted is None or state is None:
            return
        known, name = self._known, id(x)
        weak = weakref.ref(x, lambda _: known.pop(name, None))
        known[name] = _Entry(weak, (counted, state), make)

    def get(self, x: Tensor, state: tuple | None) -> Tensor | None:
        entry = self._known.get(id(x))
        if entry is None or entry.reference() is not x or entry.seen != (versions(x), state):
            return None
        if entry.product is None:
            entry.product = lasting(lambda: entry.make(x))
        return entry.product

    def __len__(self) -> int:
        return len(self._known)
