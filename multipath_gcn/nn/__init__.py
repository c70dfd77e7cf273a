"""Layers and networks for PyTorch and PyG code."""

from multipath_gcn.nn.channel import (
    ChannelConv2d,
    ChannelLinear,
    GroupedLinear,
    SlidingChannelConv2d,
    SlidingChannelLinear,
)
from multipath_gcn.nn.conv_block import ConvBlock
from multipath_gcn.nn.convert import Conversion, ConvertedLayer, convert
from multipath_gcn.nn.cost import LayerCost, layer_costs
from multipath_gcn.nn.gauge_conv import GaugeEquivariantConv
from multipath_gcn.nn.gauge_nonlinearity import GatedNonlinearity, RegularNonlinearity
from multipath_gcn.nn.gcn_conv import GCNConv
from multipath_gcn.nn.gradient_reversal import reverse_gradient
from multipath_gcn.nn.grouped_conv import GroupedConv2d
from multipath_gcn.nn.local_conv import LocalConv2d
from multipath_gcn.nn.multipath_gcn import MultiPathGCN
from multipath_gcn.nn.packed_conv import (
    PackedChannelConv2d,
    PackedDepthwiseSeparableConv2d,
    PackedGroupedConv2d,
    PackedUnevenGroupedConv2d,
)
from multipath_gcn.nn.prepack import prepack
from multipath_gcn.nn.separable import DepthwiseSeparableConv2d
from multipath_gcn.nn.stock import to_stock
from multipath_gcn.nn.time_fold import TimeFold
from multipath_gcn.nn.uneven_conv import UnevenGroupedConv2d
from multipath_gcn.nn.uneven_linear import UnevenGroupedLinear

__all__ = [
    "ChannelConv2d",
    "ChannelLinear",
    "ConvBlock",
    "Conversion",
    "ConvertedLayer",
    "DepthwiseSeparableConv2d",
    "GCNConv",
    "GatedNonlinearity",
    "GaugeEquivariantConv",
    "GroupedConv2d",
    "GroupedLinear",
    "LayerCost",
    "LocalConv2d",
    "MultiPathGCN",
    "PackedChannelConv2d",
    "PackedDepthwiseSeparableConv2d",
    "PackedGroupedConv2d",
    "PackedUnevenGroupedConv2d",
    "RegularNonlinearity",
    "SlidingChannelConv2d",
    "SlidingChannelLinear",
    "TimeFold",
    "UnevenGroupedConv2d",
    "UnevenGroupedLinear",
    "convert",
    "layer_costs",
    "prepack",
    "reverse_gradient",
    "to_stock",
]
