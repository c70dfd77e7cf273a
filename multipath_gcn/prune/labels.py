"""What a tensor's dimensions are made of."""

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from multipath_gcn.prune.relations import Relations


class Blank(Enum):
    """Of a dimension along which an operator makes or repeats values: it takes any number of channels."""

    BLANK = "blank"


BLANK = Blank.BLANK
Dim = Tensor | Blank | None


@dataclass(frozen=True)
class Labels:
    """For every dimension the numbers of its positions in :class:`Relations`, or None where it has no channels."""

    dims: tuple[Dim, ...]

    @classmethod
    def all(cls, tensor: Tensor, dim: Dim = None) -> "Labels":
        return cls((dim,) * tensor.dim())

    @property
    def told(self) -> bool:
        """Whether anything is known of any dimension."""
        return any(dim is not None for dim in self.dims)

    @property
    def blank(self) -> bool:
        return all(dim is BLANK for dim in self.dims)

    def ids(self, dim: int) -> Tensor | None:
        found = self.dims[dim] if -len(self.dims) <= dim < len(self.dims) else None
        return found if isinstance(found, Tensor) else None


@dataclass(frozen=True)
class Read:
    """Filters that read parts of ``channels`` input channels: groups of them, or windows where ``groups`` is None."""

    ids: Dim
    channels: int
    groups: int | None


@dataclass(frozen=True)
class Event:
    """What an operator did to channels, in the order of the run.

    ``"produced"`` by the rows of a weight (``"depthwise"`` where each comes from one channel), ``"read"`` by the
    columns of one, ``"normalised"`` by a batch norm, ``"rectified"``, ``"added"``, ``"propagated"`` along the edges of
    a graph, ``"changed"`` by something else that is not linear. ``names`` are the parameters.
    """

    kind: str
    ids: Tensor
    names: tuple[str | None, ...]


@dataclass
class Call:
    """One call of one operator: its name, what it was given, with labels, and what it gave."""

    op: str
    where: str
    function: object
    args: tuple
    kwargs: dict
    out: object
    relations: Relations
    trace: object

    def __getitem__(self, index: int):
        return self.args[index] if index < len(self.args) else None

    def named(self, name: str):
        """The argument that the schema calls so."""
        at = [argument.name for argument in self.function._schema.arguments].index(name)
        return self.args[at] if at < len(self.args) else self.kwargs.get(name)

    def labels(self, tensor: Tensor | None) -> Labels:
        return self.trace.labels(tensor) if isinstance(tensor, Tensor) else Labels(())

    def reason(self, rule: str) -> str:
        return f"{self.op} in {self.where} {rule}"

    def pin(self, ids: Dim, rule: str) -> None:
        if isinstance(ids, Tensor):
            self.relations.pin(ids, self.reason(rule))

    def pin_all(self, labels: Labels, rule: str) -> None:
        for ids in labels.dims:
            self.pin(ids, rule)

    def match(self, a: Dim, b: Dim) -> Dim:
        """Says that a and b are the same channels, and gives them."""
        if a is BLANK or b is BLANK:
            return b if a is BLANK else a
        if a is None or b is None:
            self.pin(b if a is None else a, "meets values that are no channels")
            return None
        self.relations.unite(a, b)
        return a


def plane(ids: Tensor, dim: int, shape: torch.Size) -> Tensor:
    """A tensor of this shape whose values are the numbers of its positions along ``dim``, plus one."""
    view = [1] * len(shape)
    view[dim] = -1
    return (ids.double() + 1).view(view).expand(shape)
