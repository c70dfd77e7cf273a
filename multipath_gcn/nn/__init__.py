"""Layers and networks for PyTorch and PyG code."""

from multipath_gcn.nn.channel import (
    ChannelConv2d,
    ChannelLinear,
    GroupedLinear,
    SlidingChannelConv2d,
    SlidingChannelLinear,
)
from multipath_gcn.nn.gcn_conv import GCNConv
from multipath_gcn.nn.grouped_conv import GroupedConv2d
from multipath_gcn.nn.multipath_gcn import MultiPathGCN
from multipath_gcn.nn.packed_conv import PackedGroupedConv2d

__all__ = [
    "ChannelConv2d",
    "ChannelLinear",
    "GCNConv",
    "GroupedConv2d",
    "GroupedLinear",
    "MultiPathGCN",
    "PackedGroupedConv2d",
    "SlidingChannelConv2d",
    "SlidingChannelLinear",
]
