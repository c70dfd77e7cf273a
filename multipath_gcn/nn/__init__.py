"""Layers and networks for PyTorch and PyG code."""

from multipath_gcn.nn.channel import (
    ChannelConv2d,
    ChannelLinear,
    GroupedLinear,
    SlidingChannelConv2d,
    SlidingChannelLinear,
)
from multipath_gcn.nn.gcn_conv import GCNConv
from multipath_gcn.nn.multipath_gcn import MultiPathGCN

__all__ = [
    "ChannelConv2d",
    "ChannelLinear",
    "GCNConv",
    "GroupedLinear",
    "MultiPathGCN",
    "SlidingChannelConv2d",
    "SlidingChannelLinear",
]
