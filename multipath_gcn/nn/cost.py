"""Parameters and multiply-adds of a network, layer by layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from multipath_gcn.nn.channel import ChannelConv2d, ChannelLinear
from multipath_gcn.nn.separable import DepthwiseSeparableConv2d

COUNTED = (nn.Conv2d, nn.Linear, ChannelConv2d, ChannelLinear)


class LayerCost(NamedTuple):
    """One call of one layer: its parameters, its multiply-adds for one image or row, and the shape it gave."""

    name: str
    layer: nn.Module
    parameters: int
    macs: int
    shape: tuple[int, ...]


def layer_costs(model: nn.Module, *inputs: Any) -> list[LayerCost]:
    r"""What every convolution, linear layer and channel transform of ``model`` costs, in the order of their calls.

    Multiply-adds per image or row: outputs of one, times weights per output. Biases, norms, activations and pooling
    count as nothing. A layer that is called twice is listed twice.

    Args:
        model: is run once in evaluation mode, without gradients; its mode is restored.
        inputs: what its ``forward`` takes; the first dimension of the layers' outputs counts images or rows.
    """
    found: list[LayerCost] = []

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, _, y: Tensor) -> None:
            outputs = y.numel() // max(1, y.size(0))
            for part_name, part in _parts(name, layer):
                per_output = part.weight[0].numel()
                outputs_of_part = outputs // y.size(1) * part.weight.size(0) if y.dim() == 4 else outputs
                parameters = sum(parameter.numel() for parameter in part.parameters(recurse=False))
                found.append(LayerCost(part_name, part, parameters, outputs_of_part * per_output, tuple(y.shape)))

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


def _parts(name: str, layer: nn.Module) -> list[tuple[str, nn.Module]]:
    """A separable convolution is two layers, which in inference are one call."""
    if not isinstance(layer, DepthwiseSeparableConv2d):
        return [(name, layer)]
    return [(f"{name}.{part}", getattr(layer, part)) for part in ("depthwise", "pointwise")]
