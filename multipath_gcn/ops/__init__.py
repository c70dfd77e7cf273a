"""Operators on tensors and graphs."""

from multipath_gcn.ops.channel_transform import PackedWeight, channel_transform, channel_transform_2d, pack_weight
from multipath_gcn.ops.propagate import propagate
from multipath_gcn.windows import ChannelWindows

__all__ = [
    "ChannelWindows",
    "PackedWeight",
    "channel_transform",
    "channel_transform_2d",
    "pack_weight",
    "propagate",
]
