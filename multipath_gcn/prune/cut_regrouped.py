"""A layer whose filters read few of the channels becomes layers side by side."""

from typing import Any

import torch
from torch import nn

from multipath_gcn.prune.uneven import may_be_uneven, replace_by_uneven


def check_regroupable(model: nn.Module, layer: str) -> None:
    """Refuses what is no plain convolution without groups that has its weight for itself.

    Raises:
        ValueError: naming the layer.
    """
    found = dict(model.named_modules()).get(layer)
    if found is None:
        raise ValueError(f"layer must be one of the model, which has no {layer!r}")
    if not may_be_uneven(found) or getattr(found, "groups", 1) != 1:
        raise ValueError(
            f"{layer} must be a plain Conv2d or Linear without groups and hooks to be regrouped, got {found}"
        )
    names = [name for name, p in model.named_parameters(remove_duplicate=False) if p is found.weight]
    if len(names) > 1:
        raise ValueError(f"{layer} must have its weight for itself to be regrouped, it is {' and '.join(names)}")


def cut_regrouped(model: nn.Module, name: str, told: dict[str, Any]) -> None:
    """Replaces the layer of a weight; see :class:`~multipath_gcn.prune.plan.Plan`.

    Raises:
        ValueError: see :func:`check_regroupable`.
    """
    path = name.rpartition(".")[0]
    check_regroupable(model, path)
    conv = model.get_submodule(path)
    parts = [
        rows[:, channels] if channels else torch.zeros_like(rows[:, :1])
        for rows, channels in zip(conv.weight.split(told["filters"]), told["inputs"], strict=True)
    ]
    replace_by_uneven(model, path, told["inputs"], parts, conv.bias, told.get("order"))
