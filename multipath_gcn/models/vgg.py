from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.fx
from torch import Tensor, nn

from multipath_gcn.models.conv_network import Convolution, Layers, check_form, check_width, made, scaled
from multipath_gcn.nn import ConvBlock, GroupedConv2d

CHANNELS = (64, 128, 256, 512, 512)
REPEATS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(Layers):
    """`VGG <https://arxiv.org/abs/1409.1556>`_ with batch norm: stages of 3x3 convolutions, each ended by max pooling.

    Args:
        in_channels: channels of the images.
        out_channels: number of classes.
        depth: 11, 13, 16 or 19 weight layers of the ImageNet form. Not read where ``stages`` are given.
        form: ``"cifar"``: global average and one linear layer; ``"imagenet"``: pooled to 7 x 7, and three linear
            layers, the inner two of 4096 with dropout 0.5.
        width: factor on all numbers of channels, which are rounded to multiples of 8.
        convolution: what makes every convolution but the first, which reads the image: called with (in_channels,
            out_channels, kernel_size) and ``stride``, ``padding``, ``bias``. None: as ``nn.Conv2d``.
        stages: channels of the convolutions of each stage: ``((32, 32), (64, 64), (128, 128))`` for a small one.

    Shapes:
        - **input:** images (N, in_channels, H, W), H and W at least 2 to the number of stages
        - **output:** scores (N, out_channels)

    Raises:
        ValueError: for an unknown ``depth`` or ``form``, a ``width`` of 0 or less, empty stages, or too small images.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth: int = 16,
        form: str = "cifar",
        width: float = 1.0,
        convolution: Convolution | None = None,
        stages: Sequence[Sequence[int]] | None = None,
    ):
        check_form(form), check_width(width)
        if stages is None:
            if depth not in REPEATS:
                raise ValueError(f"depth must be one of {list(REPEATS)}, got {depth!r}")
            stages = [[channels] * count for channels, count in zip(CHANNELS, REPEATS[depth], strict=True)]
        if not stages or not all(stages):
            raise ValueError(f"stages must each have at least one convolution, got {stages}")
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in stages:
            for wanted in stage:
                before, channels = channels, scaled(wanted, width)
                make = convolution if layers and convolution else GroupedConv2d
                layers.append(ConvBlock(made(make, f"features.{len(layers)}", before, channels), channels))
            layers.append(nn.MaxPool2d(2))
        head = nn.Linear(channels, out_channels) if form == "cifar" else _three_layers(channels, out_channels)
        pool = nn.AdaptiveAvgPool2d(1 if form == "cifar" else 7)
        parts = {"features": nn.Sequential(*layers), "pool": pool, "flat": nn.Flatten(), "classifier": head}
        super().__init__(OrderedDict(parts))
        self.least_size = 2 ** len(stages)

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.least_size)
        return super().forward(x)


def check_size(x: Tensor, least: int) -> None:
    if min(x.shape[-2:]) < least:
        raise ValueError(f"images must be at least {least} pixels high and wide, got {list(x.shape)}")


torch.fx.wrap("check_size")  # a question about sizes: nothing to be traced


def _three_layers(channels: int, out_channels: int, hidden: int = 4096) -> nn.Sequential:
    first = [nn.Linear(channels * 49, hidden), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*first, nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, out_channels))
