"""Memory that a graph keeps for the large tensors of its layers, on the CPU.

PyTorch returns the memory of a large CPU tensor to the system once it is gone, and the next one pays for each page
again. Here it goes back to the graph instead, and from there to the next tensor; all of it is gone with the graph.
"""

import weakref

import torch
from torch import Tensor

WASTE = 1.25  # a block is at most so many times as large as what it serves


class Workspace:
    def __init__(self):
        self._free: dict[int, Tensor] = {}  # blocks; single calls only, which are atomic: threads share a graph

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor; its memory comes back when the last tensor that shares it is gone."""
        size = torch.Size(shape).numel() * dtype.itemsize
        block = self._take(size)
        array = block.numpy()[:size]
        # The tensor holds the array, for as long as its memory is in use.
        weakref.finalize(array, self._free.__setitem__, id(block), block).atexit = False
        return torch.from_numpy(array).view(dtype).view(shape).data

    def _take(self, size: int) -> Tensor:
        fits = [
            (block.numel(), key) for key, block in list(self._free.items()) if size <= block.numel() <= WASTE * size
        ]
        for _, key in sorted(fits):
            block = self._free.pop(key, None)
            if block is not None:  # not taken by another thread meanwhile
                return block
        return torch.empty(size, dtype=torch.uint8)

    @property
    def at_rest(self) -> int:
        """Bytes that are kept and not in use."""
        return sum(block.numel() for block in list(self._free.values()))
