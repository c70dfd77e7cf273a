"""Operators on tensors and graphs."""

from multipath_gcn.ops.activate import activate, combine, dropout_mask
from multipath_gcn.ops.channel_transform import PackedWeight, channel_transform, channel_transform_2d, pack_weight
from multipath_gcn.ops.grouped_conv2d import grouped_conv2d
from multipath_gcn.ops.propagate import keep_product, propagate
from multipath_gcn.windows import ChannelWindows

__all__ = [
    "ChannelWindows",
    "PackedWeight",
    "activate",
    "channel_transform",
    "channel_transform_2d",
    "combine",
    "dropout_mask",
    "grouped_conv2d",
    "keep_product",
    "pack_weight",
    "propagate",
]
