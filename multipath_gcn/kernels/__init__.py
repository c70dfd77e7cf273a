"""The operators on NumPy arrays: the functions of :mod:`multipath_gcn.ops` by the same kernels, without torch.

Of channel transforms the gradients too. Arrays are of type float32, float64 or the bfloat16 of ml_dtypes, one type per
call, and may lie in memory in any way: rows of consecutive channels and images that are contiguous or channels-last are
read in place. Results do not depend on ``threads``, which are the call's own: they work while other Python threads run
on, and end with the call.

``MULTIPATH_GCN_ISA`` forces an instruction set; a RuntimeError says which names it may have.
"""

from multipath_gcn.kernels.channel_transform import (
    PackedWeight,
    channel_transform,
    channel_transform_2d,
    channel_transform_2d_input_grad,
    channel_transform_2d_weight_grad,
    channel_transform_input_grad,
    channel_transform_weight_grad,
    pack_weight,
)
from multipath_gcn.kernels.grouped_conv2d import grouped_conv2d
from multipath_gcn.kernels.network import Network
from multipath_gcn.windows import ChannelWindows

__all__ = [
    "ChannelWindows",
    "Network",
    "PackedWeight",
    "channel_transform",
    "channel_transform_2d",
    "channel_transform_2d_input_grad",
    "channel_transform_2d_weight_grad",
    "channel_transform_input_grad",
    "channel_transform_weight_grad",
    "grouped_conv2d",
    "pack_weight",
]
