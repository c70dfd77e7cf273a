from collections import OrderedDict
from functools import partial

from torch import nn

from multipath_gcn.models.conv_network import Convolution, Layers, check_form, check_width, made, scaled
from multipath_gcn.nn import ConvBlock, DepthwiseSeparableConv2d, GroupedConv2d

# channels, stride
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class MobileNet(Layers):
    """`MobileNet <https://arxiv.org/abs/1704.04861>`_: a 3x3 stem of 32 filters and 13 depthwise-separable blocks, each
    followed by batch norm and ReLU; global average; linear.

    Args:
        in_channels: channels of the images.
        out_channels: number of classes.
        form: ``"cifar"``: stem of stride 1, for images of about 32 x 32, as in
            `DSXplore <https://arxiv.org/abs/2101.00745>`_; ``"imagenet"``: of stride 2, for 224 x 224.
        width: factor on all numbers of channels, which are rounded to multiples of 8.
        convolution: what makes the 13 convolutions: called with (in_channels, out_channels, kernel_size) and
            ``stride``, ``padding``, ``bias``. None: :class:`~multipath_gcn.nn.DepthwiseSeparableConv2d` with
            ``norm_between``.

    Shapes:
        - **input:** images (N, in_channels, H, W)
        - **output:** scores (N, out_channels)

    Raises:
        ValueError: for an unknown ``form`` or a ``width`` of 0 or less.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        form: str = "cifar",
        width: float = 1.0,
        convolution: Convolution | None = None,
    ):
        check_form(form), check_width(width)
        convolution = convolution or partial(DepthwiseSeparableConv2d, norm_between=True)
        channels = scaled(32, width)
        stem = GroupedConv2d(in_channels, channels, 3, stride=1 if form == "cifar" else 2, padding=1, bias=False)
        blocks = [ConvBlock(stem, channels)]
        for wanted, stride in BLOCKS:
            before, channels = channels, scaled(wanted, width)
            layer = made(convolution, f"features.{len(blocks)}", before, channels, stride)
            blocks.append(ConvBlock(layer, channels))
        features, classifier = nn.Sequential(*blocks), nn.Linear(channels, out_channels)
        parts = {"features": features, "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "classifier": classifier}
        super().__init__(OrderedDict(parts))
