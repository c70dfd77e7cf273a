"""A channel transform that has lost channels: every filter keeps its start; narrow windows are widened with zeros."""

import numpy as np
import torch
from torch import nn

from multipath_gcn.nn.channel import ChannelConv2d, ChannelLinear
from multipath_gcn.nn.replace import computes_as
from multipath_gcn.ops import ChannelWindows
from multipath_gcn.prune.plan import Plan


def cut_windows(model: nn.Module, name: str, plan: Plan) -> nn.Module:
    layer = model.get_submodule(name.rpartition(".")[0])
    kind = next((kind for kind in (ChannelLinear, ChannelConv2d) if computes_as(layer, kind)), None)
    if kind is None:
        raise ValueError(f"{name} must belong to a channel transform to be cut, got {type(layer).__name__}")
    windows, staying = layer.windows, np.array(plan.windowed[name]["channels"])
    rows = np.array(plan.kept.get(name, {}).get(0, range(windows.out_channels)))
    new = np.full(windows.in_channels, -1)
    new[staying] = np.arange(len(staying))
    read = new[(windows.start[rows][:, None] + np.arange(windows.width)) % windows.in_channels]  # [rows, K], -1: gone
    width = max(1, int((read >= 0).sum(1).max()))
    order = np.argsort(read < 0, axis=1, kind="stable")[:, :width]  # what stays first, in the order of the window
    found = np.take_along_axis(read, order, 1)
    device = layer.weight.device
    weight = layer.weight[torch.from_numpy(rows).to(device)].gather(1, torch.from_numpy(order).to(device))
    weight[torch.from_numpy(found < 0).to(device)] = 0
    layer.windows = ChannelWindows(np.maximum(found[:, 0], 0), width, len(staying))
    layer.in_channels, layer.out_channels = len(staying), len(rows)
    layer.weight = nn.Parameter(weight, layer.weight.requires_grad)
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias[torch.from_numpy(rows)], layer.bias.requires_grad)
    layer.__class__ = kind  # no longer grouped or sliding by rule; hooks and references to the layer stay
    return layer
