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
from multipath_gcn.models.vgg import VGG
from multipath_gcn.nn import ChannelConv2d, ConvBlock, DepthwiseSeparableConv2d, GroupedConv2d
from multipath_gcn.nn.fold_norm import fold_norm
from multipath_gcn.nn.replace import computes_as

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
    _check_order(steps)
    content = {"version": VERSION, "facts": facts, "steps": steps}
    write_atomically(Path(path), lambda file: np.savez(file, network=np.array(json.dumps(content)), **arrays))


def _check_order(steps: Steps) -> None:
    flat = False
    for step in steps:
        if (step["op"] == "linear") != flat:
            rule = "flatten images once, before its linear layers, to be stored"
            raise ValueError(f"model must {rule}, got {[step['op'] for step in steps]}")
        flat = flat or step["op"] == "flatten"


class _Writer:
    """Lists the steps of modules and puts their arrays, by the modules' names, into ``arrays``."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.arrays = arrays

    def steps(self, name: str, module: nn.Module) -> Steps:
        if computes_as(module, BasicBlock):
            body, shortcut = (self.steps(_join(name, part), getattr(module, part)) for part in ("body", "shortcut"))
            return [{"op": "residual", "body": body, "shortcut": shortcut}]
        if computes_as(module, ConvBlock) and type(module.activation) in (nn.ReLU, type(None)):
            return self.layer(name, module.convolution, module.norm, module.activation is not None)
        if computes_as(module, nn.Sequential, VGG):
            return self.sequence(name, module)
        if computes_as(module, nn.Dropout, nn.Identity):
            return []
        if computes_as(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            return [{"op": "flatten"}]
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
        if computes_as(layer, DepthwiseSeparableConv2d) and layer.has_its_own_parts():
            between = self.layer(_join(name, "depthwise"), layer.depthwise, layer.norm, layer.norm is not None)
            return between + self.layer(_join(name, "pointwise"), layer.pointwise, norm, relu)
        if type(layer) in (nn.Conv2d, GroupedConv2d) and layer.padding_mode == "zeros":
            geometry = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
            return [{"op": "conv", "relu": relu, **geometry, **self.operands(name, layer, norm)}]
        if computes_as(layer, ChannelConv2d):
            start = self.keep(_join(name, "start"), torch.tensor(layer.windows.start.tolist()))
            windows = {"start": start, "in_channels": layer.in_channels}
            return [{"op": "transform", "relu": relu, **windows, **self.operands(name, layer, norm)}]
        if computes_as(layer, nn.Linear):
            return [{"op": "linear", "relu": relu, **self.operands(name, layer, norm)}]
        raise ValueError(f"model must be made of layers that can be stored as arrays, got {name}: {layer}")

    def operands(self, name: str, layer: nn.Module, norm: nn.BatchNorm2d | None) -> dict[str, str | None]:
        weight, bias = (layer.weight, layer.bias) if norm is None else fold_norm(layer.weight, layer.bias, norm)
        kept = None if bias is None else self.keep(_join(name, "bias"), bias)
        return {"weight": self.keep(_join(name, "weight"), weight), "bias": kept}

    def keep(self, name: str, tensor: Tensor) -> str:
        if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"model must be of float32 or float64 to be stored, got {name} of type {tensor.dtype}")
        self.arrays[name] = tensor.detach().cpu().contiguous().numpy()
        return name


def _join(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part
