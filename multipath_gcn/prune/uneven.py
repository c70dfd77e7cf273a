"""A convolution or linear layer replaced by several side by side."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.nn.grouped_conv import GroupedConv2d
from multipath_gcn.nn.hooks import hooked
from multipath_gcn.nn.uneven_conv import UnevenGroupedConv2d
from multipath_gcn.nn.uneven_groups import UnevenGroups
from multipath_gcn.nn.uneven_linear import UnevenGroupedLinear


def may_be_uneven(layer: nn.Module) -> bool:
    """Whether a layer computes as a plain convolution or linear map and nothing else listens to it."""
    if type(layer) in (nn.Linear, Linear):
        return not hooked(layer)
    return type(layer) in (nn.Conv2d, GroupedConv2d) and layer.padding_mode == "zeros" and not hooked(layer)


def replace_by_uneven(
    model: nn.Module,
    path: str,
    inputs: Sequence[Sequence[int]],
    parts: Sequence[Tensor],
    bias: Tensor | None,
    order: Sequence[int] | None = None,
) -> UnevenGroups:
    """The new layer, in the place of the one at ``path``.

    Args:
        inputs: for every group the channels it reads; none for filters that are constant, which read zeros.
        parts: for every group its weight; of constant filters with one column.
        bias: in the order of the outputs.
        order: as in :class:`~multipath_gcn.nn.uneven_conv.UnevenGroupedConv2d`.
    """
    conv = model.get_submodule(path)
    weight = conv.weight
    inputs = [list(channels) or [0] for channels in inputs]
    filters, options = [len(part) for part in parts], {"bias": bias is not None, "device": "meta", "order": order}
    if weight.dim() == 2:
        layer: UnevenGroups = UnevenGroupedLinear(inputs, filters, **options)
    else:
        geometry = conv.kernel_size, conv.stride, conv.padding, conv.dilation
        layer = UnevenGroupedConv2d(inputs, filters, *geometry, **options)
    for g, part in enumerate(parts):
        setattr(layer, f"weight{g}", nn.Parameter(part.detach().clone(), weight.requires_grad))
    for g, channels in enumerate(inputs):
        if f"channels{g}" in layer._buffers:
            layer._buffers[f"channels{g}"] = torch.tensor(channels, device=weight.device)
    if order is not None:
        layer._buffers["order"] = torch.tensor(order, device=weight.device)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), conv.bias.requires_grad)
    layer.train(conv.training)
    model.set_submodule(path, layer)
    return layer
