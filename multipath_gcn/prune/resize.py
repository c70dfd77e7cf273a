"""Attributes by which layers know their widths, read again from their parameters."""

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch_geometric import nn as pyg

from multipath_gcn.nn import GCNConv, MultiPathGCN
from multipath_gcn.nn.channel import ChannelConv2d, ChannelLinear
from multipath_gcn.nn.separable import DepthwiseSeparableConv2d
from multipath_gcn.nn.uneven_groups import UnevenGroups
from multipath_gcn.ops import ChannelWindows

RESIZE: dict[type, Callable[[nn.Module], None]] = {}


def resizes(*kinds: type) -> Callable:
    """Registers what must be said to a layer of these kinds (or of a subclass) when its parameters were cut."""

    def register(function: Callable[[nn.Module], None]) -> Callable[[nn.Module], None]:
        RESIZE.update(dict.fromkeys(kinds, function))
        return function

    return register


def resize(module: nn.Module) -> None:
    for kind in type(module).__mro__:
        if kind in RESIZE:
            RESIZE[kind](module)
            return


@resizes(_ConvNd)
def _conv(conv) -> None:
    rows, columns = (1, 0) if isinstance(conv, _ConvTransposeNd) else (0, 1)
    if conv.groups == 1:
        conv.out_channels, conv.in_channels = conv.weight.size(rows), conv.weight.size(columns)


@resizes(nn.Linear)
def _linear(linear) -> None:
    linear.out_features, linear.in_features = linear.weight.shape


@resizes(ChannelLinear, ChannelConv2d)
def _channels(layer) -> None:
    out_channels, width = layer.weight.shape
    if (out_channels, width) != (layer.windows.out_channels, layer.windows.width):  # dense ones; see ``cut_windows``
        layer.windows = ChannelWindows.dense(width, out_channels)
        layer.in_channels, layer.out_channels = width, out_channels


@resizes(nn.Bilinear)
def _bilinear(linear) -> None:
    linear.out_features, linear.in1_features, linear.in2_features = linear.weight.shape


@resizes(nn.Embedding)
def _embedding(embedding) -> None:
    embedding.embedding_dim = embedding.weight.size(1)


@resizes(_NormBase)
def _norm(norm) -> None:
    known = norm.weight if norm.weight is not None else norm.running_mean
    if known is not None:
        norm.num_features = known.numel()


@resizes(nn.PReLU)
def _prelu(prelu) -> None:
    prelu.num_parameters = prelu.weight.numel()


@resizes(pyg.Linear)
def _pyg_linear(linear) -> None:
    linear.out_channels, linear.in_channels = linear.weight.shape


@resizes(pyg.GCNConv, GCNConv)
def _gcn(conv) -> None:
    conv.out_channels = conv.lin.out_channels
    if not isinstance(conv.lin, UnevenGroups):  # which may read fewer than there are
        conv.in_channels = conv.lin.in_channels


@resizes(pyg.SAGEConv)
def _sage(conv) -> None:
    conv.out_channels = conv.lin_l.out_channels
    if isinstance(conv.in_channels, int):
        conv.in_channels = conv.lin_l.in_channels
    else:
        root = conv.lin_r.in_channels if conv.root_weight else conv.in_channels[1]
        conv.in_channels = conv.lin_l.in_channels, root


@resizes(pyg.GATConv)
def _gat(conv) -> None:
    conv.heads, conv.out_channels = conv.att_src.shape[1:]
    if isinstance(conv.in_channels, int):
        conv.in_channels = conv.lin.in_channels


@resizes(DepthwiseSeparableConv2d)
def _separable(layer) -> None:
    layer.in_channels, layer.out_channels = layer.depthwise.in_channels, layer.pointwise.out_channels


@resizes(MultiPathGCN)
def _multipath(model) -> None:
    model.path_widths = tuple(tuple(block.conv.out_channels for block in path) for path in model.paths)
    if model.stem:
        model.hidden_channels = model.width_of_paths_input = model.stem[-1].conv.out_channels
