"""A depthwise convolution, then a channel transform of its result, which is rounded to the type of x in between."""

from torch import Tensor

from multipath_gcn.ops.reference.channel_transform import channel_transform_packed
from multipath_gcn.ops.reference.grouped_conv2d import grouped_conv2d_packed


def separable_conv2d_packed(
    x, depthwise, depthwise_bias, pointwise, bias, start, order, out_channels, width, out_height, out_width, relu
) -> Tensor:
    h = grouped_conv2d_packed(x, depthwise, depthwise_bias, None)
    return channel_transform_packed(h, pointwise, bias, start, order, out_channels, width, 1, relu)
