"""Which positions of tensor dimensions are one channel: an equivalence of integers, and what holds it fast."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


@dataclass(frozen=True)
class Owner:
    """One dimension of one parameter or buffer, whose positions are ``first .. first + size - 1``."""

    name: str
    dim: int
    first: int
    size: int


class Relations:
    """Positions are numbered from 0; ``unite`` says that two are removed together, ``pin`` that one never is."""

    def __init__(self):
        self.owners: list[Owner] = []
        self.count = 0
        self._pairs: list[Tensor] = []
        self._pins: list[tuple[Tensor, str]] = []

    def own(self, name: str, dim: int, size: int) -> Tensor:
        """Numbers for the positions of a parameter's dimension."""
        self.owners.append(Owner(name, dim, self.count, size))
        return self._new(size)

    def fixed(self, reason: str) -> Tensor:
        """One number for all that cannot be removed for this reason."""
        position = self._new(1)
        self.pin(position, reason)
        return position

    def unite(self, a: Tensor, b: Tensor) -> None:
        a, b = torch.broadcast_tensors(a, b)
        differ = a != b
        if differ.any():
            self._pairs.append(torch.stack([a[differ], b[differ]]))

    def pin(self, positions: Tensor, reason: str) -> None:
        if positions.numel():
            self._pins.append((positions.flatten().unique(), reason))

    def classes(self) -> tuple[np.ndarray, dict[int, str]]:
        """The class of every position, and for the classes that are held fast the first reason."""
        pairs = torch.cat([*self._pairs, torch.empty(2, 0, dtype=torch.long)], dim=1).numpy()
        links = coo_matrix((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(self.count, self.count))
        label = connected_components(links, directed=False)[1]
        reasons: dict[int, str] = {}
        for positions, reason in self._pins:
            for found in np.unique(label[positions.numpy()]):
                reasons.setdefault(int(found), reason)
        return label, reasons

    def _new(self, size: int) -> Tensor:
        self.count += size
        return torch.arange(self.count - size, self.count)
