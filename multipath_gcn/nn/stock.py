"""A network of PyTorch's own layers that computes what one with ours computes, for exporters that know no others."""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn

from multipath_gcn.nn.channel import ChannelConv2d, ChannelLinear
from multipath_gcn.nn.grouped_conv import GroupedConv2d
from multipath_gcn.nn.replace import computes_as, replaced
from multipath_gcn.nn.separable import DepthwiseSeparableConv2d
from multipath_gcn.windows import ChannelWindows


def to_stock(model: nn.Module) -> nn.Module:
    """A copy of ``model`` with stock operators in place of ours, such as for ONNX, with the same weights.

    :class:`GroupedConv2d` becomes ``nn.Conv2d``; a channel transform becomes one grouped convolution of gathered
    channels, a group for each window, or where windows serve different numbers of filters a dense one with zeros;
    :class:`DepthwiseSeparableConv2d` becomes a sequence.

    Args:
        model: any network; it is not changed.
    """
    return replaced(model, _stock)


def _stock(module: nn.Module) -> nn.Module | None:
    if computes_as(module, DepthwiseSeparableConv2d):
        between = (
            {}
            if module.norm is None
            else {"norm": copy.deepcopy(module.norm), "activation": copy.deepcopy(module.activation)}
        )
        parts = {"depthwise": _stock(module.depthwise), **between, "pointwise": _stock(module.pointwise)}
        return nn.Sequential(OrderedDict(parts)).train(module.training)
    if computes_as(module, GroupedConv2d):
        return _plain_conv(module)
    if computes_as(module, ChannelConv2d, ChannelLinear):
        transform = _windowed(module)
        return transform if isinstance(module, ChannelConv2d) else _Rows(transform)
    return None


def _plain_conv(conv: GroupedConv2d) -> nn.Module:
    uneven = isinstance(conv.padding, tuple) and any(isinstance(side, tuple) for side in conv.padding)
    padding = 0 if uneven else conv.padding
    shape = conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, padding, conv.dilation, conv.groups
    plain = nn.Conv2d(*shape, conv.bias is not None, conv.padding_mode, device="meta")
    plain.weight, plain.bias = _copy(conv.weight), _copy(conv.bias)
    plain.train(conv.training)
    if not uneven:
        return plain
    (top, bottom), (left, right) = ((side, side) if isinstance(side, int) else side for side in conv.padding)
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), plain)


class _Gather(nn.Module):
    """The given channels of images (N, C, H, W) or (C, H, W), in their order."""

    def __init__(self, channels: Tensor):
        super().__init__()
        self.register_buffer("channels", channels)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(-3, self.channels)


class _Rows(nn.Module):
    """A transform of images for rows (*, C)."""

    def __init__(self, images: nn.Module):
        super().__init__()
        self.images = images

    def forward(self, x: Tensor) -> Tensor:
        y = self.images(x.reshape(-1, x.shape[-1], 1, 1))
        return y.reshape(*x.shape[:-1], -1)


def _windowed(layer: ChannelConv2d | ChannelLinear) -> nn.Module:
    windows = layer.windows
    starts, number = torch.tensor(windows.start.tolist()).unique(return_inverse=True)
    filters = number.argsort(stable=True)  # by window
    counts = number.bincount()
    if len(starts) > 1 and (counts != counts[0]).any():
        return _conv(1, layer, _dense_weight(layer.weight, windows), layer.bias)
    channels = (starts[:, None] + torch.arange(windows.width)).flatten() % windows.in_channels
    in_order = filters.tolist() == list(range(len(filters)))
    bias = layer.bias if in_order or layer.bias is None else layer.bias[filters]
    parts = [_conv(len(starts), layer, layer.weight if in_order else layer.weight[filters], bias, len(channels))]
    if channels.tolist() != list(range(windows.in_channels)):
        parts.insert(0, _Gather(channels.to(layer.weight.device)))
    if not in_order:
        parts.append(_Gather(filters.argsort().to(layer.weight.device)))
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _conv(groups: int, layer: nn.Module, weight: Tensor, bias: Tensor | None, channels: int | None = None) -> nn.Conv2d:
    conv = nn.Conv2d(channels or layer.in_channels, len(weight), 1, groups=groups, bias=bias is not None, device="meta")
    conv.weight, conv.bias = _copy(weight[:, :, None, None]), _copy(bias)
    return conv


@torch.no_grad()
def _dense_weight(weight: Tensor, windows: ChannelWindows) -> Tensor:
    start = torch.tensor(windows.start.tolist(), device=weight.device)
    channels = (start[:, None] + torch.arange(windows.width, device=weight.device)) % windows.in_channels
    return weight.new_zeros(len(weight), windows.in_channels).scatter_(1, channels, weight)


def _copy(tensor: Tensor | None) -> nn.Parameter | None:
    return None if tensor is None else nn.Parameter(tensor.detach().clone(), tensor.requires_grad)
