"""Channels in another order, and everything that has to do with them in that order, too."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from multipath_gcn.prune.channels import ChannelGroup, Channels


def may_be_reordered(model: nn.Module, channels: Channels, group: ChannelGroup, layer: str) -> bool:
    """Whether the rows of a layer may come in any order: each is one channel, none is held fast, nothing reads or makes
    them by place, as groups and windows do, and every tensor that has to do with them has to do with all of them."""
    units, classes = group.rows[layer], set(group.units.tolist())
    if any(reason is not None for reason in group.held) or sorted(units.tolist()) != list(range(len(group))):
        return False
    for name, read in channels.reads.items():
        depthwise = model.get_parameter(name).size(1) == 1
        ids = read.ids if isinstance(read.ids, Tensor) else None
        by_place = ids is not None and not classes.isdisjoint(channels.label[ids.numpy()].tolist())
        if not depthwise and (by_place or name in group.weights.values()):
            return False
    for i in range(len(channels.owners)):
        here = [c for c in channels.classes_of(i) if c in classes]
        if here and len(set(map(here.count, classes))) > 1:
            return False
    return True


def reordered(channels: Channels, orders: Mapping[str, Sequence[int]]) -> dict[str, dict[int, list[int]]]:
    """For every tensor that changes, by dimension, which position comes where.

    Args:
        orders: for layers that :func:`may_be_reordered`, of which no two share a group, by name: which of its rows
            comes first, second, ...
    """
    becomes: dict[int, int] = {}  # in the place of a class comes another
    for layer, order in orders.items():
        group = channels.group(layer)
        of_row = group.units[group.rows[layer]]
        becomes |= dict(zip(of_row.tolist(), of_row[list(order)].tolist(), strict=True))
    kept: dict[str, dict[int, list[int]]] = {}
    for i, owner in enumerate(channels.owners):
        here = channels.classes_of(i)
        if not any(becomes.get(c, c) != c for c in here):
            continue
        at: dict[int, list[int]] = {}
        for position, c in enumerate(here):
            at.setdefault(c, []).append(position)
        seen: dict[int, int] = {}
        found = []
        for c in here:  # the m-th place of a class takes the m-th of the other
            m = seen[c] = seen.get(c, -1) + 1
            found.append(at[becomes.get(c, c)][m])
        kept.setdefault(owner.name, {})[owner.dim] = found
    return kept
