"""The weights that read channels of a group: how strongly, and how one channel's part is given to another."""

import numpy as np
import torch
from torch import Tensor, nn

from multipath_gcn.prune.channels import ChannelGroup, Channels
from multipath_gcn.prune.labels import Read


class Reader:
    """A weight as [O, K, *] with, for every filter and unit, the columns that read it.

    Args:
        name, parameter: the parameter.
        columns: ``columns[u]`` = (rows, columns) of the entries that read unit u; rows None for all.
        dim: the dimension of the parameter that the columns lie along.
    """

    def __init__(self, name: str, parameter: nn.Parameter, columns: list[tuple[Tensor | None, Tensor]], dim: int = 1):
        self.name, self.parameter, self.columns = name, parameter, columns
        self.weight = parameter.detach().movedim(dim, 1) if dim != 1 else parameter.detach()  # shares its memory

    @torch.no_grad()
    def energy(self) -> np.ndarray:
        """For every unit the sum of squares of the entries that read it."""
        square = (
            self.weight.detach().double().flatten(2).square().sum(-1)
            if self.weight.dim() > 2
            else self.weight.double() ** 2
        )
        sums = [square[:, at].sum() if rows is None else square[rows, at].sum() for rows, at in self.columns]
        return torch.stack(sums).numpy(force=True)

    @torch.no_grad()
    def sum_of(self, unit: int) -> Tensor:
        """What every filter gives to a unit that is 1 everywhere [O]."""
        rows, at = self.columns[unit]
        found = torch.zeros(len(self.weight), dtype=torch.float64, device=self.weight.device)
        if rows is None:
            return found + self.weight[:, at].double().flatten(1).sum(1)
        return found.index_add_(0, rows.to(found.device), self.weight[rows, at].double().reshape(len(rows), -1).sum(1))

    @torch.no_grad()
    def merge(self, gone: int, into: int, scale: float, shift: float, alone: float) -> Tensor:
        """Reads ``scale * into + shift`` in the place of ``gone``, or ``alone`` where a filter does not read ``into``;
        returns what that adds to the outputs [O]."""
        weight, added = self.weight, torch.zeros(len(self.weight), dtype=torch.float64, device=self.weight.device)
        rows, at = self.columns[gone]
        other_rows, other = self.columns[into]
        if rows is None:
            reads_both = len(at) == len(other)
            if reads_both:
                weight[:, other] += (scale * weight[:, at].double()).to(weight.dtype)
            return added + (shift if reads_both else alone) * weight[:, at].double().flatten(1).sum(1)
        common, mine, theirs = _paired(rows.tolist(), at.tolist(), other_rows.tolist(), other.tolist())
        weight[common, theirs] += (scale * weight[common, mine].double()).to(weight.dtype)
        constant = torch.where(torch.isin(rows, torch.tensor(common, dtype=rows.dtype)), shift, alone).to(added)
        read = weight[rows, at].double().reshape(len(rows), -1).sum(1)
        return added.index_add_(0, rows.to(added.device), constant * read)

    @property
    def whole(self) -> bool:
        """Whether every filter reads every unit, in as many columns."""
        return all(rows is None for rows, _ in self.columns) and len({len(at) for _, at in self.columns}) == 1

    @torch.no_grad()
    def substitute(self, gone: list[int], stays: list[int], scale: np.ndarray, shift: np.ndarray) -> Tensor:
        """Reads ``scale @ stays + shift`` in the place of ``gone``; returns what that adds to the outputs [O]."""
        weight = self.weight
        before, after = (torch.stack([self.columns[unit][1] for unit in units]) for units in (gone, stays))
        removed = (
            weight[:, before.flatten()].double().flatten(2)
            if weight.dim() > 2
            else weight[:, before.flatten()].double()[..., None]
        )
        removed = removed.unflatten(1, before.shape)  # [O, gone, columns, places]
        scale, shift = (torch.from_numpy(values).to(weight.device) for values in (scale, shift))
        given = torch.einsum("ogcp,gs->oscp", removed, scale)
        flat = weight[:, after.flatten()]
        weight[:, after.flatten()] = flat + given.reshape(flat.shape).to(weight.dtype)
        return torch.einsum("ogcp,g->o", removed, shift)


def readers(model: nn.Module, channels: Channels, group: ChannelGroup) -> list[Reader]:
    """Every weight that reads channels of the group."""
    known, found = dict([*model.named_parameters(), *model.named_buffers()]), []
    number = {int(c): n for n, c in enumerate(group.units)}
    for owner, classes in channels.read_by_columns(group):
        at: list[list[int]] = [[] for _ in group.units]
        for column, c in enumerate(classes):
            if c in number:
                at[number[c]].append(column)
        columns = [(None, torch.tensor(numbers, dtype=torch.long)) for numbers in at]
        found.append(Reader(owner.name, known[owner.name], columns, owner.dim))
    for name, read in channels.reads.items():
        if isinstance(read.ids, Tensor) and known[name].size(1) > 1:
            classes = channels.label[read.ids.numpy()]
            if np.isin(classes, group.units).any():
                found.append(Reader(name, known[name], _partial(model, name, read, classes, number)))
    return found


def _paired(rows: list, at: list, other_rows: list, other: list) -> tuple[list[int], list[int], list[int]]:
    """Filters that read both units, with the k-th column of the one beside the k-th of the other."""
    of_row: dict[int, list[int]] = {}
    for row, column in zip(other_rows, other, strict=True):
        of_row.setdefault(row, []).append(column)
    found = [(row, column, of_row[row].pop(0)) for row, column in zip(rows, at, strict=True) if of_row.get(row)]
    return tuple(map(list, zip(*found, strict=True))) if found else ([], [], [])


def _partial(
    model: nn.Module, name: str, read: Read, classes: np.ndarray, number: dict[int, int]
) -> list[tuple[Tensor, Tensor]]:
    channel = channels_read(model, name, read)
    unit = np.array([number.get(int(c), -1) for c in classes])[channel]
    return [tuple(map(torch.from_numpy, np.nonzero(unit == u))) for u in range(len(number))]


def channels_read(model: nn.Module, weight: str, read: Read) -> np.ndarray:
    """The numbers of the input channels that the columns of every filter lie on [O, K]."""
    out, k = model.get_parameter(weight).shape[:2]
    if read.groups:
        start = np.arange(out) // (out // read.groups) * k
    else:
        start = model.get_submodule(weight.rpartition(".")[0]).windows.start
    return (start[:, None] + np.arange(k)) % read.channels
