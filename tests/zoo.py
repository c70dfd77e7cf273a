"""Small networks of every kind that channels are removed from: what each does to them, and how many can go."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import Conv2d, Linear
from torch.nn import functional as F
from torch_geometric import nn as pyg

from multipath_gcn import models
from multipath_gcn import nn as ours


@dataclass(frozen=True)
class Case:
    """A network, its inputs, and what must be found: ``free`` channels, or an operator that holds them."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple]
    free: bool = True
    held_by: str | None = None

    def __repr__(self) -> str:
        return self.name


class Calls(nn.Module):
    """Layers, called by a function."""

    def __init__(self, call, *layers):
        super().__init__()
        self.l, self.call = nn.ModuleList(layers), call

    def forward(self, *inputs):
        return self.call(self.l, *inputs)


class OwnParameters(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 3, 1, 1)), nn.Parameter(torch.randn(8))
        self.scale, self.last = nn.Parameter(torch.randn(8, 1, 1)), Conv2d(8, 4, 1)

    def forward(self, x):
        return self.last(F.conv2d(x, self.weight, self.bias).relu() * self.scale)


class OptionA(nn.Module):
    """A strided block whose shortcut is padded with channels of zeros, as in ResNet-20 to 110 on CIFAR."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.last = Conv2d(3, 8, 3, padding=1), Conv2d(8, 16, 3, 2, 1), Linear(16, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return self.last(y.relu().mean((2, 3)))


class Squeeze(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.down, self.up, self.last = Conv2d(3, 8, 1), Conv2d(8, 4, 1), Conv2d(4, 8, 1), Conv2d(8, 5, 1)

    def forward(self, x):
        y = self.first(x)
        return self.last(y * self.up(self.down(y.mean((2, 3), keepdim=True)).relu()).sigmoid())


def shuffle(layers, x):
    x = layers[1](layers[0](x))
    n, c, h, w = x.shape
    return layers[2](x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w))


def gated(layers, x):
    a, b = layers[0](x).chunk(2, 1)
    return layers[1](a * b.sigmoid())


def split(*sizes):
    def call(layers, x):
        a, b = layers[0](x).split(list(sizes), 1)
        return layers[1](a) + layers[2](b)

    return call


def images(size=8):
    return lambda: (torch.randn(2, 3, size, size),)


def graph():
    return torch.randn(30, 7), torch.randint(0, 30, (2, 100))


def rows(*shape):
    return lambda: (torch.randn(shape),)


def calls(call, *layers):
    return lambda: Calls(call, *(layer() for layer in layers))


def conv(*args, **options):
    return lambda: Conv2d(*args, **options)


def norms(norm):
    return calls(lambda m, x: m[2](m[1](m[0](x))), conv(3, 8, 1), norm, conv(8, 5, 1))


ZOO = [
    Case("vgg", lambda: models.VGG(3, 10, 11, width=0.25), images(32)),
    Case("resnet18", lambda: models.ResNet(3, 10, 18, width=0.25), images(16)),
    Case("resnet50", lambda: models.ResNet(3, 10, 50, width=0.125), images(16)),
    Case("mobilenet", lambda: models.MobileNet(3, 10, width=0.25), images(16)),
    Case("option A", OptionA, images(), held_by="constant_pad_nd"),
    Case("linear after flatten", lambda: nn.Sequential(Conv2d(3, 8, 3), nn.Flatten(), Linear(8 * 36, 5)), images()),
    Case("concat", calls(lambda m, x: m[2](torch.cat([m[0](x), m[1](x).relu()], 1)), conv(3, 8, 1), conv(3, 6, 1), conv(14, 4, 1)), images()),
    Case("dense block", calls(lambda m, x: m[2](torch.cat([y := m[0](x), m[1](y)], 1)), conv(3, 8, 1), conv(8, 6, 3, padding=1), conv(14, 4, 1)), images()),
    Case("depthwise", calls(lambda m, x: m[2](m[1](m[0](x)).relu()), conv(3, 8, 1), conv(8, 8, 3, groups=8), conv(8, 4, 1)), images()),
    Case("depthwise multiplier", calls(lambda m, x: m[2](m[1](m[0](x)).relu()), conv(3, 8, 1), conv(8, 16, 3, groups=8), conv(16, 4, 1)), images()),
    Case("grouped", calls(lambda m, x: m[2](m[1](m[0](x)).relu()), conv(3, 12, 1), conv(12, 20, 3, groups=4), conv(20, 4, 1)), images()),
    Case("our grouped", calls(lambda m, x: m[2](m[1](m[0](x)).relu()), conv(3, 12, 1), lambda: ours.GroupedConv2d(12, 20, 3, groups=4), conv(20, 4, 1)), images()),
    Case("channel shuffle", calls(shuffle, conv(3, 12, 1), conv(12, 12, 1, groups=3), conv(12, 5, 1)), images()),
    Case("nn.ChannelShuffle", calls(lambda m, x: m[2](F.channel_shuffle(m[1](m[0](x)), 4)), conv(3, 16, 1), conv(16, 16, 1, groups=4), conv(16, 4, 1)), images()),
    Case("flip", calls(lambda m, x: m[1](m[0](x).flip(1)), conv(3, 8, 1), conv(8, 4, 1)), images()),
    Case("glu", calls(lambda m, x: m[1](F.glu(m[0](x), 1)), conv(3, 16, 1), conv(8, 4, 1)), images()),
    Case("gated by chunks", calls(gated, conv(3, 16, 1), conv(8, 4, 1)), images()),
    Case("split by sizes", calls(split(6, 10), conv(3, 16, 1), conv(6, 4, 1), conv(10, 4, 1)), images(), False, "split_with_sizes"),
    Case("split by equal sizes", calls(split(8, 8), conv(3, 16, 1), conv(8, 4, 1), conv(8, 4, 1)), images(), False, "split_with_sizes"),
    Case("pixel shuffle", calls(lambda m, x: m[1](F.pixel_shuffle(m[0](x), 2)), conv(3, 16, 1), conv(4, 4, 1)), images()),
    Case("pixel unshuffle", calls(lambda m, x: m[1](F.pixel_unshuffle(m[0](x), 2)), conv(3, 6, 1), conv(24, 4, 1)), images()),
    Case("squeeze and excite", Squeeze, images()),
    Case("shared weights", calls(lambda m, x: m[2](m[1](m[1](m[0](x)).relu())), conv(3, 8, 1), conv(8, 8, 3, padding=1), conv(8, 5, 1)), images()),
    Case("residual", calls(lambda m, x: m[3]((y := m[0](x)) + m[2](m[1](y).relu())), conv(3, 8, 1), conv(8, 6, 3, padding=1), conv(6, 8, 3, padding=1), conv(8, 5, 1)), images()),
    Case("group norm", norms(lambda: nn.GroupNorm(2, 8)), images(), False, "native_group_norm"),
    Case("layer norm", calls(lambda m, x: m[2](m[1](m[0](x.mean((2, 3))))), lambda: Linear(3, 8), lambda: nn.LayerNorm(8), lambda: Linear(8, 5)), images(), False, "native_layer_norm"),
    Case("instance norm", norms(lambda: nn.InstanceNorm2d(8, affine=True)), images()),
    Case("prelu", norms(lambda: nn.PReLU(8)), images()),
    Case("transposed convolution", calls(lambda m, x: m[2](m[1](m[0](x))), conv(3, 8, 1), lambda: nn.ConvTranspose2d(8, 6, 2, 2), conv(6, 5, 1)), images()),
    Case("softmax over channels", calls(lambda m, x: m[1](m[0](x).softmax(1)), conv(3, 8, 1), conv(8, 5, 1)), images(), False, "_softmax"),
    Case("mean over channels", calls(lambda m, x: m[1]((y := m[0](x)) - y.mean(1, keepdim=True)), conv(3, 8, 1), conv(8, 5, 1)), images(), False, "mean"),
    Case("1d", calls(lambda m, x: m[1](m[0](x).relu()), lambda: nn.Conv1d(3, 8, 3), lambda: nn.Conv1d(8, 5, 3)), rows(2, 3, 9)),
    Case("3d", calls(lambda m, x: m[1](m[0](x).relu()), lambda: nn.Conv3d(3, 8, 3), lambda: nn.Conv3d(8, 5, 1)), rows(2, 3, 5, 5, 5)),
    Case("attention", calls(lambda m, x: m[2](m[1](y := m[0](x), y, y)[0]), lambda: Linear(6, 16), lambda: nn.MultiheadAttention(16, 4, batch_first=True), lambda: Linear(16, 3)), rows(2, 5, 6), False, "'l.1'"),
    Case("transformer", lambda: nn.Sequential(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), Linear(16, 3)), rows(2, 5, 16), held_by="scaled_dot_product"),
    Case("gru", calls(lambda m, x: m[1](m[0](x)[0]), lambda: nn.GRU(6, 8), lambda: Linear(8, 3)), rows(5, 2, 6), False),
    Case("fft over channels", calls(lambda m, x: m[1](torch.fft.fft(m[0](x), dim=1).abs()), conv(3, 8, 1), conv(8, 5, 1)), images(), False, "_fft_r2c"),
    Case("functional", OwnParameters, images()),
    Case("weight norm", calls(lambda m, x: m[1](m[0](x).relu()), lambda: nn.utils.parametrizations.weight_norm(Conv2d(3, 8, 1)), conv(8, 5, 1)), images(), False),
    Case("channels by bounds", calls(lambda m, x: m[1](m[0](x)[:, :4]), conv(3, 8, 1), conv(4, 5, 1)), images(), False),
    Case("channels by numbers", calls(lambda m, x: m[1](m[0](x)[:, [0, 3, 5]]), conv(3, 8, 1), conv(3, 5, 1)), images(), False, "index"),
    Case("constants of fixed width", calls(lambda m, x: m[1](m[0](x) * torch.ones(8, 1, 1)), conv(3, 8, 1), conv(8, 5, 1)), images(), False, "mul"),
    Case("einsum", calls(lambda m, x: torch.einsum("bchw,oc->bohw", m[0](x).relu(), m[1].weight), conv(3, 8, 1), lambda: Linear(8, 5)), images()),
    Case("unfold", calls(lambda m, x: m[1](F.unfold(m[0](x), 3).transpose(1, 2)), conv(3, 8, 1), lambda: Linear(72, 5)), images()),
    Case("bilinear", calls(lambda m, x: m[1](F.interpolate(m[0](x), scale_factor=2, mode="bilinear")), conv(3, 8, 1), conv(8, 5, 1)), images()),
    Case("frozen and detached", calls(lambda m, x: m[1](m[0](x).detach()), lambda: Conv2d(3, 8, 1).requires_grad_(False), conv(8, 5, 1)), images()),
    Case("sliding", lambda: nn.Sequential(Conv2d(3, 12, 3), ours.SlidingChannelConv2d(12, 24, 3, 0.5), nn.ReLU(), ours.SlidingChannelConv2d(24, 8, 4, 0.25), nn.ReLU(), Conv2d(8, 5, 1)), images()),
    Case("grouped linear", lambda: nn.Sequential(Linear(6, 12), ours.GroupedLinear(12, 8, 4), nn.ReLU(), ours.SlidingChannelLinear(8, 10, 2, 0.5), Linear(10, 3)), rows(5, 6)),
    Case("separable", lambda: nn.Sequential(Conv2d(3, 12, 3), ours.DepthwiseSeparableConv2d(12, 24, 3, pointwise="sliding", groups=3, overlap=0.5, norm_between=True), nn.ReLU(), Conv2d(24, 5, 1)), images()),
    Case("multipath", lambda: ours.MultiPathGCN(7, 16, 3), graph),
    Case("multipath sliding", lambda: ours.MultiPathGCN(7, 16, 3, transform="sliding", norm="batch", readout="gcn"), graph),
    Case("multipath attention", lambda: ours.MultiPathGCN(7, 16, 3, combine="attention", transform="grouped"), graph),
    Case("multipath concat", lambda: ours.MultiPathGCN(7, 16, 3, combine="concat", stem=2), graph),
    Case("multipath max", lambda: ours.MultiPathGCN(7, 16, 3, combine="max"), graph),
    Case("our GCNConv", lambda: pyg.Sequential("x, e", [(ours.GCNConv(7, 16), "x, e -> x"), nn.ReLU(), (ours.GCNConv(16, 3), "x, e -> x")]), graph),
    Case("GCN", lambda: pyg.GCN(7, 16, 2, 3), graph),
    Case("GraphSAGE", lambda: pyg.GraphSAGE(7, 16, 2, 3), graph),
    Case("GAT", lambda: pyg.GAT(7, 16, 2, 3, heads=4), graph),
    Case("GIN", lambda: pyg.GIN(7, 16, 2, 3), graph),
]  # fmt: skip


def case(name):
    return next(found for found in ZOO if found.name == name)
