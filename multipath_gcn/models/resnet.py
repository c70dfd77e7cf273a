from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from multipath_gcn.models.conv_network import Convolution, Layers, check_form, check_width, made, scaled
from multipath_gcn.nn import ConvBlock, GroupedConv2d, UnevenGroupedConv2d, prepack

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
CHANNELS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """y = relu(second(first(x)) + shortcut(x)): two 3x3 convolutions, of which ``convolution`` makes the second."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, convolution: Convolution, name: str = "block"):
        super().__init__()
        first = GroupedConv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        second = made(convolution, f"{name}.body.1", channels, channels)
        # None where the branch was pruned away
        self.body = nn.Sequential(ConvBlock(first, channels), ConvBlock(second, channels, activation=False))
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.body is None:
            return self.shortcut(x).relu()
        return (self.body(x) + self.shortcut(x)).relu_()

    def prepack(self) -> nn.Module:
        """The block for inference, its sum and ReLU in the store of the last convolution where that can be."""
        return PackedResidual(self) if self.body is not None else nn.Sequential(prepack(self.shortcut), nn.ReLU())


class Bottleneck(BasicBlock):
    """y = relu(expand(middle(reduce(x))) + shortcut(x)): ``convolution`` makes the 3x3 in the middle, which strides."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, convolution: Convolution, name: str = "block"):
        nn.Module.__init__(self)
        wide = self.expansion * channels
        reduce = GroupedConv2d(in_channels, channels, 1, bias=False)
        middle = made(convolution, f"{name}.body.1", channels, channels, stride)
        expand = GroupedConv2d(channels, wide, 1, bias=False)
        self.body = nn.Sequential(
            ConvBlock(reduce, channels), ConvBlock(middle, channels), ConvBlock(expand, wide, activation=False)
        )
        self.shortcut = _shortcut(in_channels, wide, stride)


class PackedResidual(nn.Module):
    """What a block computes, for inference."""

    def __init__(self, block: BasicBlock):
        super().__init__()
        *first, last = block.body
        self.shortcut = prepack(block.shortcut)
        self.first = prepack(nn.Sequential(*first))
        self.adds = isinstance(last.convolution, (GroupedConv2d, UnevenGroupedConv2d))
        self.last = last.convolution.prepack(last.norm, "relu") if self.adds else prepack(last)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.shortcut(x)
        h = self.first(x)
        return self.last(h, residual) if self.adds else self.last(h).add_(residual).relu_()


class ResNet(Layers):
    """`ResNet <https://arxiv.org/abs/1512.03385>`_: a stem, four stages of residual blocks, global average, linear.

    Where a stage begins or the number of channels changes, the shortcut is a 1x1 convolution with batch norm.

    Args:
        in_channels: channels of the images.
        out_channels: number of classes.
        depth: 18 or 34 (blocks of two 3x3 convolutions), or 50 (1x1, 3x3, 1x1). With ``blocks`` given: 50 for the
            latter, anything else for the former.
        form: ``"cifar"``: 3x3 stem of stride 1, for images of about 32 x 32; ``"imagenet"``: 7x7 of stride 2 and
            max pooling, for 224 x 224.
        width: factor on all numbers of channels, which are rounded to multiples of 8.
        convolution: what makes the convolutions that `DSXplore <https://arxiv.org/abs/2101.00745>`_ replaces, the
            second of two or the middle one of three: called with (in_channels, out_channels, kernel_size) and
            ``stride``, ``padding``, ``bias``. None: as ``nn.Conv2d``. :func:`multipath_gcn.nn.convert` replaces others.
        blocks: number of blocks in each stage, one to four stages.

    Shapes:
        - **input:** images (N, in_channels, H, W)
        - **output:** scores (N, out_channels)

    Raises:
        ValueError: for an unknown ``depth`` or ``form``, a ``width`` of 0 or less, or stages without blocks.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        depth: int = 18,
        form: str = "cifar",
        width: float = 1.0,
        convolution: Convolution | None = None,
        blocks: Sequence[int] | None = None,
    ):
        check_form(form), check_width(width)
        if blocks is None and depth not in BLOCKS:
            raise ValueError(f"depth must be one of {list(BLOCKS)}, got {depth!r}")
        blocks = BLOCKS[depth] if blocks is None else blocks
        if not 1 <= len(blocks) <= len(CHANNELS) or min(blocks) < 1:
            raise ValueError(f"blocks must be 1 to {len(CHANNELS)} positive numbers, got {list(blocks)}")
        kind = Bottleneck if depth == 50 else BasicBlock
        channels = scaled(CHANNELS[0], width)
        stages: list[nn.Module] = [_stem(in_channels, channels, form)]
        for number, (wanted, count) in enumerate(zip(CHANNELS, blocks, strict=False)):
            for block in range(count):
                stride = 2 if number and block == 0 else 1
                name = f"features.{len(stages)}"
                stages.append(kind(channels, scaled(wanted, width), stride, convolution or GroupedConv2d, name))
                channels = kind.expansion * scaled(wanted, width)
        features, classifier = nn.Sequential(*stages), nn.Linear(channels, out_channels)
        parts = {"features": features, "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "classifier": classifier}
        super().__init__(OrderedDict(parts))


def _stem(in_channels: int, channels: int, form: str) -> nn.Module:
    if form == "cifar":
        return ConvBlock(GroupedConv2d(in_channels, channels, 3, stride=1, padding=1, bias=False), channels)
    first = ConvBlock(GroupedConv2d(in_channels, channels, 7, stride=2, padding=3, bias=False), channels)
    return nn.Sequential(first, nn.MaxPool2d(3, 2, 1))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    layer = GroupedConv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return ConvBlock(layer, out_channels, activation=False)
