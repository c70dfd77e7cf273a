"""The largest activation of every channel where layers read it, over data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.measured import columns_read, rows_read
from multipath_gcn.prune.readers import readers
from multipath_gcn.prune.sites import find_sites, uses


def peaks(model: nn.Module, channels: Channels, batches: Sequence[tuple[Any, ...]]) -> dict[str, np.ndarray]:
    """``max |a|`` of every channel, by the names of groups: of those that every layer that reads them reads whole, in
    one place of a run."""
    sites = find_sites(model, batches[0])
    columns = columns_read(model, channels, sites)
    read_by = {group.name: {reader.name for reader in readers(model, channels, group)} for group in channels.groups}
    columns = {group: places for group, places in columns.items() if places and read_by[group] == set(places)}
    found: dict[str, np.ndarray] = {}
    for batch in batches:
        used = uses(model, batch, {name for places in columns.values() for name in places})
        for group, places in columns.items():
            for name, at in places.items():
                if name in used:
                    highest = rows_read(used[name].x, sites[name]).abs().amax(0)
                    top = highest[at.to(highest.device)].amax(1).double().numpy(force=True)
                    found[group] = np.maximum(found.get(group, 0.0), top)
    return found
