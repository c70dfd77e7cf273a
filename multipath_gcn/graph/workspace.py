"""Memory that a graph keeps for what lies between the steps of a layer."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

MOST = 3  # buffers at rest


class Workspace:
    """Buffers lent one at a time; each is as large as the largest tensor it was asked for."""

    def __init__(self):
        self._free: list[Tensor] = []

    @contextmanager
    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[Tensor]:
        """An uninitialised CPU tensor that is nobody else's until the block ends."""
        size = torch.Size(shape).numel() * dtype.itemsize
        try:  # pop and append are atomic: threads share a graph
            buffer = self._free.pop()
        except IndexError:
            buffer = None
        if buffer is None or buffer.numel() < size:
            del buffer  # before the larger one is there
            buffer = torch.empty(size, dtype=torch.uint8)
        try:
            yield buffer[:size].view(dtype).view(shape)
        finally:
            if len(self._free) < MOST:
                self._free.append(buffer)
