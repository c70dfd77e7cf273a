"""Parameters and multiply-adds of a network, layer by layer."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.nn.channel import ChannelConv2d, ChannelLinear
from multipath_gcn.nn.local_conv import LocalConv2d
from multipath_gcn.nn.separable import DepthwiseSeparableConv2d
from multipath_gcn.nn.uneven_groups import UnevenGroups

COUNTED = (_ConvNd, nn.Linear, Linear, ChannelConv2d, ChannelLinear, LocalConv2d, UnevenGroups)


class LayerCost(NamedTuple):
    """One call of one layer: its parameters, its multiply-adds for one image or row, and the shape it gave."""

    name: str
    layer: nn.Module
    parameters: int
    macs: int
    shape: tuple[int, ...]


def layer_costs(model: nn.Module, *inputs: Any) -> list[LayerCost]:
    r"""What every convolution, linear layer and channel transform of ``model`` costs, in the order of their calls.

    Multiply-adds per image or row: outputs of one, times weights per output (of a transposed convolution, inputs times
    weights per input). Biases, norms, activations, pooling and other layers count as nothing, packed layers too. A
    layer that is called twice is listed twice.

    Args:
        model: is run once in evaluation mode, without gradients; its mode is restored.
        inputs: what its ``forward`` takes; the first dimension of what layers are given counts images or rows.
    """
    found: list[LayerCost] = []

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
            if isinstance(layer, DepthwiseSeparableConv2d):  # in inference its two parts are one call
                h = (y.size(0), layer.in_channels, *y.shape[2:])
                found.append(_cost(f"{name}.depthwise", layer.depthwise, h, h))
                found.append(_cost(f"{name}.pointwise", layer.pointwise, y.shape, y.shape))
            else:
                met = args[0].shape if isinstance(layer, _ConvTransposeNd) else y.shape
                found.append(_cost(name, layer, met, y.shape))

        return hook

    inner = {child for m in model.modules() if isinstance(m, DepthwiseSeparableConv2d) for child in m.children()}
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, (*COUNTED, DepthwiseSeparableConv2d)) and module not in inner
    ]
    handles = [module.register_forward_hook(note(name)) for name, module in layers]
    was_training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in was_training.items():
            module.training = training
    return found


def _cost(name: str, layer: nn.Module, met: Sequence[int], shape: Sequence[int]) -> LayerCost:
    """``met``: the shape of that each element of which meets a slice of the weight."""
    parameters = sum(parameter.numel() for parameter in layer.parameters())  # masked ones lie below
    if isinstance(layer, UnevenGroups):
        places = shape[2:] if layer.weight0.dim() > 2 else shape[1:-1]
        macs = sum(weight.numel() for weight in layer.weights) * math.prod(places)
    elif isinstance(layer, LocalConv2d):
        macs = layer.weight.numel()
    else:
        macs = math.prod(met[1:]) * layer.weight[0].numel()
    return LayerCost(name, layer, parameters, macs, tuple(shape))
