"""The weights that read channels of a group: how strongly, and how one channel's part is given to another."""

import numpy as np
import torch
from torch import Tensor, nn

from multipath_gcn.prune.channels import ChannelGroup, Channels


class Reader:
    """A weight [O, K, *] with, for every filter and unit, the columns that read it.

    Args:
        name, weight: the parameter.
        columns: ``columns[u]`` = (rows, columns) of the entries that read unit u; rows None for all.
    """

    def __init__(self, name: str, weight: nn.Parameter, columns: list[tuple[Tensor | None, Tensor]]):
        self.name, self.weight, self.columns = name, weight, columns

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
    def merge(self, gone: int, into: int, scale: float, shift: float) -> Tensor:
        """Reads ``scale * into + shift`` in the place of ``gone``; returns what that adds to the outputs [O]."""
        weight, added = self.weight.data, torch.zeros(len(self.weight), dtype=torch.float64, device=self.weight.device)
        rows, at = self.columns[gone]
        other_rows, other = self.columns[into]
        if rows is None:
            if len(at) != len(other):
                raise ValueError(
                    f"units of {self.name!r} must be read by as many columns, got {len(at)} and {len(other)}"
                )
            weight[:, other] += (scale * weight[:, at].double()).to(weight.dtype)
            added += shift * weight[:, at].double().flatten(1).sum(1)
            return added
        common, mine, theirs = np.intersect1d(rows.numpy(), other_rows.numpy(), return_indices=True)
        common = torch.from_numpy(common)
        weight[common, other[theirs]] += (scale * weight[common, at[mine]].double()).to(weight.dtype)
        added.index_add_(0, rows, shift * weight[rows, at].double().flatten(1).sum(1))
        return added

    @property
    def whole(self) -> bool:
        """Whether every filter reads every unit."""
        return all(rows is None for rows, _ in self.columns)

    @torch.no_grad()
    def substitute(self, gone: list[int], stays: list[int], scale: np.ndarray, shift: np.ndarray) -> Tensor:
        """Reads ``scale @ stays + shift`` in the place of ``gone``; returns what that adds to the outputs [O]."""
        weight = self.weight.data
        before, after = (torch.stack([self.columns[unit][1] for unit in units]) for units in (gone, stays))
        removed = (
            weight[:, before.flatten()].double().flatten(2)
            if weight.dim() > 2
            else weight[:, before.flatten()].double()[..., None]
        )
        removed = removed.unflatten(1, before.shape)  # [O, gone, columns, places]
        given = torch.einsum("ogcp,gs->oscp", removed, torch.from_numpy(scale))
        flat = weight[:, after.flatten()]
        weight[:, after.flatten()] = flat + given.reshape(flat.shape).to(weight.dtype)
        return torch.einsum("ogcp,g->o", removed, torch.from_numpy(shift))


def readers(model: nn.Module, channels: Channels, group: ChannelGroup) -> list[Reader]:
    """Every weight that reads channels of the group."""
    known, found = dict(model.named_parameters()), []
    number = {int(c): n for n, c in enumerate(group.units)}
    for owner, classes in channels.read_by_columns(group):
        at: list[list[int]] = [[] for _ in group.units]
        for column, c in enumerate(classes):
            if c in number:
                at[number[c]].append(column)
        found.append(
            Reader(owner.name, known[owner.name], [(None, torch.tensor(columns, dtype=torch.long)) for columns in at])
        )
    for name, read in channels.reads.items():
        if isinstance(read.ids, Tensor) and known[name].size(1) > 1:
            classes = channels.label[read.ids.numpy()]
            if np.isin(classes, group.units).any():
                found.append(Reader(name, known[name], _partial(model, name, read, classes, number)))
    return found


def _partial(
    model: nn.Module, name: str, read, classes: np.ndarray, number: dict[int, int]
) -> list[tuple[Tensor, Tensor]]:
    weight = model.get_parameter(name)
    out, k = weight.shape[:2]
    if read.groups:
        start = np.arange(out) // (out // read.groups) * k
    else:
        start = model.get_submodule(name.rpartition(".")[0]).windows.start
    channel = (start[:, None] + np.arange(k)) % read.channels  # [O, K]
    unit = np.array([number.get(int(c), -1) for c in classes])[channel]
    return [tuple(map(torch.from_numpy, np.nonzero(unit == u))) for u in range(len(number))]
