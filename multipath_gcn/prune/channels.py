"""The channels of a model: which positions of which tensors go together, and which must stay."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from multipath_gcn.prune.errors import CannotPrune
from multipath_gcn.prune.labels import Event
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.relations import Owner
from multipath_gcn.prune.trace import Trace


@dataclass
class ChannelGroup:
    """Channels that are alternatives of each other: the rows of one layer, or of several that are added.

    ``units[i]`` is one channel: the class of positions that go when it goes. ``held[i]`` says why it cannot go, or is
    None.
    """

    name: str
    layers: list[str]
    units: np.ndarray
    held: list[str | None]
    rows: dict[str, np.ndarray] = field(repr=False)  # by layer: of every row of its weight the unit
    weights: dict[str, str] = field(repr=False)  # by layer: the name of its weight

    def __len__(self) -> int:
        return len(self.units)

    def units_of(self, layer: str, filters: Iterable[int]) -> list[int]:
        """The numbers of the units that these rows of a layer's weight belong to."""
        rows = self.rows[layer]
        found = []
        for i in filters:
            if not 0 <= i < len(rows):
                raise ValueError(f"filters of {layer!r} must lie in 0..{len(rows) - 1}, got {i}")
            if self.held[rows[i]] is not None:
                raise CannotPrune(
                    f"channel {i} of {layer!r} cannot be removed: {self.held[rows[i]]}", self.held[rows[i]]
                )
            found.append(int(rows[i]))
        return found

    def spared(self, units: Iterable[int]) -> list[int]:
        """Those of these units that can go in this order, so that every layer keeps one."""
        left = {layer: set(rows.tolist()) for layer, rows in self.rows.items()}
        found = []
        for unit in units:
            if all(len(rows) > 1 for rows in left.values() if unit in rows):
                found.append(int(unit))
                for rows in left.values():
                    rows.discard(unit)
        return found

    @property
    def free(self) -> np.ndarray:
        return np.array([i for i, reason in enumerate(self.held) if reason is None], dtype=int)


class Channels:
    """What a :class:`Trace` has found, as classes of positions."""

    def __init__(self, trace: Trace):
        self.label, self.reasons = trace.relations.classes()
        self.owners = trace.relations.owners
        self.reads = trace.reads
        self.events = trace.events
        self._produced = self._owners_of("produced", "depthwise")
        read = self._with_joined(self._owners_of("read"), trace.joined)
        self._read = [i for i in read if i not in self._produced]
        self.groups = self._groups(self._produced)

    def _owners_of(self, *kinds: str) -> list[int]:
        first, found = [owner.first for owner in self.owners], {}
        for event in self.events:
            if event.kind in kinds:
                number = np.searchsorted(first, event.ids.numpy(), side="right") - 1
                found.update(dict.fromkeys(number.tolist()))
        return list(found)

    def _with_joined(self, found: list[int], joined: Iterable[tuple[Tensor, Tensor]]) -> list[int]:
        """These owners, and those whose weights were joined to theirs before anything read them."""
        first, numbers = [owner.first for owner in self.owners], dict.fromkeys(found)
        for pair in reversed(list(joined)):  # what was joined last was read first
            one, two = (np.unique(np.searchsorted(first, ids.numpy(), side="right") - 1).tolist() for ids in pair)
            if any(i in numbers for i in one):
                numbers |= dict.fromkeys(two)
        return list(numbers)

    def columns_of(self, weight: str) -> np.ndarray | None:
        """The classes of the columns of a weight that sums over channels."""
        for i in self._read:
            if self.owners[i].name == weight:
                return np.array(self.classes_of(i))
        return None

    def dim_of(self, weight: str, group: ChannelGroup) -> int:
        """The dimension of a weight along which lie the channels that it makes."""
        for i in self._produced:
            if self.owners[i].name == weight and np.isin(self.classes_of(i), group.units).any():
                return self.owners[i].dim
        raise KeyError(weight)

    def produced_dim(self, weight: str) -> int:
        """The dimension of a weight along which lie the channels that it makes; the first of several."""
        return next((self.owners[i].dim for i in self._produced if self.owners[i].name == weight), 0)

    def owners_in(self, ids: Tensor) -> list[Owner]:
        """The dimensions of which these positions are, in their order."""
        first = [owner.first for owner in self.owners]
        number = np.searchsorted(first, ids.numpy(), side="right") - 1
        return [self.owners[i] for i in dict.fromkeys(number.tolist())]

    def read_by_columns(self, group: ChannelGroup) -> list[tuple[Owner, np.ndarray]]:
        """The dimensions of weights along which channels of the group are summed over, with classes of positions."""
        found = [(self.owners[i], np.array(self.classes_of(i))) for i in self._read]
        return [(owner, classes) for owner, classes in found if np.isin(classes, group.units).any()]

    def happening(self, group: ChannelGroup) -> list[tuple[Event, np.ndarray]]:
        """What operators do to channels of the group, in the order of the run: for every position the number of its
        unit, or -1 for that of another group."""
        number, found = {int(c): n for n, c in enumerate(group.units)}, []
        for event in self.events:
            units = np.array([number.get(int(c), -1) for c in self.label[event.ids.numpy()]])
            if (units >= 0).any():
                found.append((event, units))
        return found

    def norm_after(self, weight: str) -> tuple[str | None, ...] | None:
        """Names of weight, bias, mean and variance of the batch norm that follows the rows of a weight at once."""
        first = {self.owners[i].first for i in self._produced if self.owners[i].name == weight}
        for i, event in enumerate(self.events):
            if event.kind in ("produced", "depthwise") and int(event.ids[0]) in first:
                for later in self.events[i + 1 :]:
                    if len(later.ids) == len(event.ids) and later.ids[0] == event.ids[0]:
                        return later.names if later.kind == "normalised" else None
        return None

    def _groups(self, order: list[int]) -> list[ChannelGroup]:
        together: list[list[int]] = []  # owners that share a class
        of_class: dict[int, int] = {}
        for i in order:
            classes = self.classes_of(i)
            met = sorted({of_class[c] for c in classes if c in of_class})
            target = met[0] if met else len(together)
            if not met:
                together.append([])
            for other in met[1:]:
                for j in together[other]:
                    of_class.update(dict.fromkeys(self.classes_of(j), target))
                together[target] += together[other]
                together[other] = []
            together[target].append(i)
            of_class.update(dict.fromkeys(classes, target))
        return [self._group(owners) for owners in together if owners]

    def classes_of(self, i: int) -> list[int]:
        owner = self.owners[i]
        return self.label[owner.first : owner.first + owner.size].tolist()

    def _group(self, owners: list[int]) -> ChannelGroup:
        units = list(dict.fromkeys(c for i in owners for c in self.classes_of(i)))
        number = {c: n for n, c in enumerate(units)}
        names = [self._layer_of(i) for i in owners]
        rows = {name: np.array([number[c] for c in self.classes_of(i)]) for name, i in zip(names, owners, strict=True)}
        weights = {name: self.owners[i].name for name, i in zip(names, owners, strict=True)}
        held = [self.reasons.get(c) for c in units]
        return ChannelGroup(names[0], names, np.array(units), held, rows, weights)

    def _layer_of(self, i: int) -> str:
        """The module of a weight; where it has several that make channels, the weight itself, and its dimension."""
        owner = self.owners[i]
        others = [self.owners[j] for j in self._produced if j != i]
        if any(other.name == owner.name for other in others):
            return f"{owner.name}[{owner.dim}]"
        path = owner.name.rpartition(".")[0]
        return owner.name if not path or any(o.name.rpartition(".")[0] == path for o in others) else path

    def kept(self, removed: np.ndarray) -> dict[str, dict[int, np.ndarray]]:
        """For every tensor that changes, by dimension, the positions that stay."""
        gone = np.isin(self.label, removed)
        found: dict[str, dict[int, np.ndarray]] = {}
        for owner in self.owners:
            mine = gone[owner.first : owner.first + owner.size]
            if mine.any():
                found.setdefault(owner.name, {})[owner.dim] = np.flatnonzero(~mine)
        return found

    def staying(self, name: str, removed: np.ndarray) -> list[int] | None:
        """The channels that remain of those that a grouped or windowed weight reads; None where nothing changes."""
        read = self.reads[name]
        gone = np.zeros(read.channels, bool)
        if isinstance(read.ids, Tensor):
            gone = np.isin(self.label[read.ids.numpy()], removed)
        rows = next(i for i, owner in enumerate(self.owners) if owner.name == name)
        if not gone.any() and not np.isin(self.classes_of(rows), removed).any():
            return None
        return np.flatnonzero(~gone).tolist()

    def reasons_held(self) -> list[str]:
        return sorted({reason for group in self.groups for reason in group.held if reason is not None})

    def group(self, layer: str) -> ChannelGroup:
        for group in self.groups:
            if layer in group.layers:
                return group
        raise ValueError(
            f"layer must be one with channels of its own, got {layer!r}; there are {[g.name for g in self.groups]}"
        )

    def plan(self, remove: Mapping[str, Iterable[int]]) -> Plan:
        """What goes with these filters of these layers.

        Args:
            remove: by the name of a layer, numbers of its filters (rows of its weight).

        Raises:
            ValueError: for a layer or filter that is not there, cannot go (with the operator that holds it), or
                is the last.
        """
        removed: dict[str, list[int]] = {}
        for layer, filters in remove.items():
            group = self.group(layer)
            removed[group.name] = [*removed.get(group.name, []), *group.units_of(layer, filters)]
        return self.plan_units(removed)

    def plan_units(self, remove: Mapping[str, Iterable[int]]) -> Plan:
        """The same by the names of groups and the numbers of their units."""
        removed = {name: sorted(set(units)) for name, units in remove.items()}
        units = [self.group(name).units[numbers] for name, numbers in removed.items()]
        gone = np.concatenate([*units, np.empty(0, int)]).astype(int)
        kept = self.kept(gone)
        for name, dims in kept.items():
            for dim, at in dims.items():
                if not len(at):
                    raise ValueError(
                        f"remove must leave a channel of every layer, got all of dimension {dim} of {name!r}"
                    )
        reads = {name: self.staying(name, gone) for name in self.reads}
        changed = {name: staying for name, staying in reads.items() if staying is not None}
        return Plan(
            removed,
            {name: {dim: at.tolist() for dim, at in dims.items()} for name, dims in kept.items()},
            {n: {"channels": at, "groups": self.reads[n].groups} for n, at in changed.items() if self.reads[n].groups},
            {n: {"channels": at} for n, at in changed.items() if not self.reads[n].groups},
        )
