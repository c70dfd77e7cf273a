"""Mean and covariance of channels where layers read them, counted on data instead of worked out from weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.readers import readers
from multipath_gcn.prune.signals import Moments
from multipath_gcn.prune.sites import Site, find_sites, uses


def measured(model: nn.Module, channels: Channels, batches: Sequence[tuple[Any, ...]]) -> dict[str, Moments]:
    """Mean [C] and covariance [C, C] of groups of channels over all places of ``batches``, by name.

    A group that several layers read has the mean over them. One that no layer reads as a whole, in one place of a run,
    is not in the result, nor one that is read in no more places than it has channels.

    Args:
        batches: what ``forward`` takes, at least one tuple; labels are not needed.
    """
    sites = find_sites(model, batches[0])
    columns = columns_read(model, channels, sites)
    names = {name for places in columns.values() for name in places}
    sums: dict[tuple[str, str], _Sums] = {}
    for batch in batches:
        used = uses(model, batch, names)
        for group, places in columns.items():
            for name, at in places.items():
                if name not in used:  # a layer that this batch did not come by
                    continue
                rows = rows_read(used[name].x, sites[name])
                found = sums.setdefault((group, name), _Sums(len(at)))
                for part in at.T:  # a channel may be read in several columns, behind a flatten say
                    found.add(rows[:, part])
    result = {}
    for group, places in columns.items():
        enough = [name for name in places if sums[group, name].count > len(places[name])]
        if enough:
            moments = [sums[group, name].moments for name in enough]
            result[group] = tuple(sum(parts) / len(moments) for parts in zip(*moments, strict=True))
    return result


def columns_read(model: nn.Module, channels: Channels, sites: dict[str, Site]) -> dict[str, dict[str, Tensor]]:
    """For groups by name, and the layers that read every unit of them: the positions [units, k] at which it lies in
    what they read."""
    return {
        group.name: {
            reader.name: torch.stack([at for _, at in reader.columns])
            for reader in readers(model, channels, group)
            if reader.name in sites and reader.whole and len(reader.columns[0][1])
        }
        for group in channels.groups
    }


def rows_read(x: Tensor, site: Site) -> Tensor:
    """What a layer reads as rows of channels."""
    return (x if site.geometry is None else x.movedim(1, -1)).flatten(0, -2)


class _Sums:
    def __init__(self, count: int):
        self.count, self.x, self.xx = 0, torch.zeros(count).double(), torch.zeros(count, count).double()

    def add(self, rows: Tensor) -> None:
        rows = rows.double()
        self.count += len(rows)
        self.x += rows.sum(0).cpu()
        self.xx += (rows.T @ rows).cpu()

    @property
    def moments(self) -> Moments:
        mean = (self.x / self.count).numpy()
        return mean, (self.xx / self.count).numpy() - np.outer(mean, mean)
