"""Results kept for tensors that do not change: looked up by the tensor itself, gone with it."""

import weakref

from torch import Tensor

from multipath_gcn.graph.versions import versions


class Products:
    """From a tensor, as it was when put here, to what was made of it."""

    def __init__(self):
        self._known: dict[int, tuple[weakref.ref, tuple, Tensor]] = {}

    def put(self, x: Tensor, state: tuple | None, product: Tensor) -> None:
        """Keeps ``product`` until ``x`` dies or changes, or is asked for with another ``state``."""
        counted = versions(x)
        if counted is None or state is None:
            return
        known, name = self._known, id(x)
        known[name] = weakref.ref(x, lambda _: known.pop(name, None)), (counted, state), product

    def get(self, x: Tensor, state: tuple | None) -> Tensor | None:
        reference, seen, product = self._known.get(id(x), (None, None, None))
        if reference is None or reference() is not x or seen != (versions(x), state):
            return None
        return product

    def __len__(self) -> int:
        return len(self._known)
