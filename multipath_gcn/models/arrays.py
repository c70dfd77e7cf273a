"""A trained convolution network as plain arrays, for machines without PyTorch."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multipath_gcn.files import write_atomically
from multipath_gcn.kernels.network import VERSION
from multipath_gcn.models.resnet import BasicBlock
from multipath_gcn.nn import ChannelConv2d, ConvBlock, DepthwiseSeparableConv2d
from multipath_gcn.nn.fold_norm import fold_norm

Steps = list[dict[str, Any]]


def save_arrays(model: nn.Module, path: str | PathLike, **facts: Any) -> None:
    """Writes ``model`` into an ``.npz`` file for :class:`multipath_gcn.kernels.Network`, batch norms folded in.

    Args:
        model: a network of the layers of this package and of ``nn.Sequential``, ``nn.Conv2d``, ``nn.Linear``,
            ``nn.ReLU`` (after one of these), max pooling, global average, ``nn.Flatten``, ``nn.Dropout`` and
            ``nn.Identity``, such as those of :mod:`multipath_gcn.models`. float32 or float64; it is not changed.
        path: where to; a file that is there is replaced.
        facts: JSON values to store beside it, such as mean, std and names of classes.

    Raises:
        ValueError: for a module that is none of these, by its name.
    """
    arrays: dict[str, np.ndarray] = {}
    steps = _Writer(arrays).steps("", model)
    content = {"version": VERSION, "facts": facts, "steps": steps}
    write_atomically(Path(path), lambda file: np.savez(file, network=np.array(json.dumps(content)), **arrays))


class _Writer:
    """Lists the steps of modules and puts their arrays, by the modules' names, into ``arrays``."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def steps(self, name: str, module: nn.Module) -> Steps:
        if isinstance(module, BasicBlock):
            body, shortcut = (self.steps(_join(name, part), getattr(module, part)) for part in ("body", "shortcut"))
            return [{"op": "residual", "body": body, "shortcut": shortcut}]
        if isinstance(module, ConvBlock):
            return self.layer(name, module.convolution, module.norm, module.activation)
        if isinstance(module, nn.Sequential):
            return self.sequence(name, module)
        if isinstance(module, nn.Flatten | nn.Dropout | nn.Identity):
            return []  # a linear layer flattens what it is given
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
            return [{"op": "average"}]
        if isinstance(module, nn.MaxPool2d) and module.dilation == 1 and not module.ceil_mode:
            sizes = {"size": module.kernel_size, "stride": module.stride, "padding": module.padding}
            if all(isinstance(size, int) for size in sizes.values()):
                return [{"op": "max_pool", **sizes}]
        return self.layer(name, module)

    def sequence(self, name: str, modules: nn.Sequential) -> Steps:
        found: Steps = []
        for child_name, child in modules.named_children():
            if isinstance(child, nn.ReLU) and found and found[-1].get("relu") is False:
                found[-1]["relu"] = True
            else:
                found += self.steps(_join(name, child_name), child)
        return found

    def layer(self, name: str, layer: nn.Module, norm: nn.BatchNorm2d | None = None, relu: bool = False) -> Steps:
        if isinstance(layer, DepthwiseSeparableConv2d):
            between = self.layer(_join(name, "depthwise"), layer.depthwise, layer.norm, layer.norm is not None)
            return between + self.layer(_join(name, "pointwise"), layer.pointwise, norm, relu)
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
            geometry = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
            return [{"op": "conv", "relu": relu, **geometry, **self.operands(name, layer, norm)}]
        if isinstance(layer, ChannelConv2d):
            start = self.keep(_join(name, "start"), torch.tensor(layer.windows.start.tolist()))
            windows = {"start": start, "in_channels": layer.in_channels}
            return [{"op": "transform", "relu": relu, **windows, **self.operands(name, layer, norm)}]
        if isinstance(layer, nn.Linear):
            return [{"op": "linear", "relu": relu, **self.operands(name, layer, norm)}]
        raise ValueError(f"model must be made of layers that can be stored as arrays, got {name}: {layer}")

    def operands(self, name: str, layer: nn.Module, norm: nn.BatchNorm2d | None) -> dict[str, str | None]:
        weight, bias = (layer.weight, layer.bias) if norm is None else fold_norm(layer.weight, layer.bias, norm)
        kept = None if bias is None else self.keep(_join(name, "bias"), bias)
        return {"weight": self.keep(_join(name, "weight"), weight), "bias": kept}

    def keep(self, name: str, tensor: Tensor) -> str:
        self.arrays[name] = tensor.detach().cpu().contiguous().numpy()
        return name


def _join(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part
