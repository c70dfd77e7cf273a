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

__all__ = [
    "ChannelConv2d",
    "ChannelLinear",
    "GCNConv",
    "GroupedConv2d",
    "GroupedLinear",
    "MultiPathGCN",
    "SlidingChannelConv2d",
    "SlidingChannelLinear",
]
