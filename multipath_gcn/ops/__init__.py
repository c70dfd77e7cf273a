"""Operators on tensors and graphs."""

from multipath_gcn.ops.activate import activate, combine, dropout_mask
from multipath_gcn.ops.channel_transform import PackedWeight, channel_transform, channel_transform_2d, pack_weight
from multipath_gcn.ops.explain_conv2d import explain_conv2d
from multipath_gcn.ops.gauge_sums import gauge_sums
from multipath_gcn.ops.grouped_conv2d import grouped_conv2d
from multipath_gcn.ops.packed_conv2d import PackedConv2d, prepack_conv2d
from multipath_gcn.ops.propagate import keep_product, propagate
from multipath_gcn.ops.separable_conv2d import PackedSeparableConv2d, prepack_separable_conv2d, separable_conv2d
from multipath_gcn.ops.uneven_conv2d import PackedUnevenConv2d
from multipath_gcn.windows import ChannelWindows

__all__ = [
    "ChannelWindows",
    "PackedConv2d",
    "PackedSeparableConv2d",
    "PackedUnevenConv2d",
    "PackedWeight",
    "activate",
    "channel_transform",
    "channel_transform_2d",
    "combine",
    "dropout_mask",
    "explain_conv2d",
    "gauge_sums",
    "grouped_conv2d",
    "keep_product",
    "pack_weight",
    "prepack_conv2d",
    "prepack_separable_conv2d",
    "propagate",
    "separable_conv2d",
]
