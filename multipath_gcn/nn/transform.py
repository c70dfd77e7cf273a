"""The transform of a graph convolution by name: its options, what they must fulfil, and the layer they stand for."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.nn.channel import GroupedLinear, SlidingChannelLinear
from multipath_gcn.ops import ChannelWindows

TRANSFORMS = ("dense", "grouped", "sliding")  # each has the options of those before it and one more


def build_transform(
    in_channels: int, out_channels: int, transform: str = "dense", groups: int | None = None, overlap: Any = None
) -> nn.Module:
    """The layer without bias, ``groups`` being 2 and ``overlap`` 0.5 where they are ``None``.

    Raises:
        ValueError: for an unknown transform, an option that it does not have, or widths that do not fit.
    """
    check_options(transform, groups, overlap)
    if transform == "dense":
        return Linear(in_channels, out_channels, bias=False, weight_initializer="glorot")
    groups = 2 if groups is None else groups
    if transform == "grouped":
        return GroupedLinear(in_channels, out_channels, groups, bias=False)
    return SlidingChannelLinear(in_channels, out_channels, groups, 0.5 if overlap is None else overlap, bias=False)


def build_windows(
    in_channels: int,
    out_channels: int,
    transform: str = "dense",
    groups: int | None = None,
    overlap: Any = None,
    name: str = "transform",
) -> ChannelWindows:
    """What the filters of a transform read, ``groups`` being 2 and ``overlap`` 0.5 where they are ``None``."""
    check_options(transform, groups, overlap, name)
    if transform == "dense":
        return ChannelWindows.dense(in_channels, out_channels)
    groups = 2 if groups is None else groups
    if transform == "grouped":
        return ChannelWindows.grouped(in_channels, out_channels, groups)
    return ChannelWindows.sliding(in_channels, out_channels, groups, 0.5 if overlap is None else overlap)


def check_options(transform: str, groups: int | None, overlap: Any, name: str = "transform") -> None:
    """Refuses an unknown transform, and options that would have no effect."""
    if transform not in TRANSFORMS:
        raise ValueError(f"{name} must be one of {list(TRANSFORMS)}, got {transform!r}")
    if transform == "dense" and groups is not None:
        raise ValueError(f"groups must be None for {name}='dense', got {groups!r}")
    if transform != "sliding" and overlap is not None:
        raise ValueError(f"overlap must be None for {name}={transform!r}, got {overlap!r}")


def effective_options(transform: str, groups: int | None, overlap: Any) -> dict[str, Any]:
    """Of options meant for several transforms, those that this one has."""
    groups, overlap = (groups, overlap) if transform == "sliding" else (groups, None)
    return {"transform": transform, "groups": None if transform == "dense" else groups, "overlap": overlap}


def check_widths(widths: Sequence[tuple[str, int]], transform: str, groups: int | None = None) -> None:
    """Refuses the first of the named widths of a stack, input first, that ``groups`` does not divide.

    It is what the layers would refuse, in the words of the caller.
    """
    groups = 2 if groups is None else groups
    read = widths if transform == "grouped" else widths[:-1]  # a sliding transform may write any number of channels
    for name, width in read if transform != "dense" and len(widths) > 1 else ():
        if width == -1:
            raise ValueError(f"{name} must be known (got -1) for a {transform} transform of the input")
        if isinstance(groups, int) and groups > 0 and width % groups:
            raise ValueError(f"{name} ({width}) must be divisible by groups ({groups})")
