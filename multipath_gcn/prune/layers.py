"""What pruning did to every layer."""

from itertools import zip_longest
from typing import Any, TypedDict

from torch import nn

from multipath_gcn.nn import layer_costs


class LayerChange(TypedDict):
    """One call of one layer: output channels, parameters and multiply-adds of an image or row, before and after."""

    name: str
    kind: str
    channels_before: int
    channels_after: int
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int


def layer_changes(before: nn.Module, after: nn.Module, *inputs: Any) -> list[LayerChange]:
    """A line for every convolution, linear layer and channel transform, in the order of their calls.

    Args:
        before, after: a model and what is left of it; each runs once, see :func:`~multipath_gcn.nn.layer_costs`.
        inputs: what ``forward`` takes.

    Raises:
        ValueError: for models that call other layers.
    """
    calls = [layer_costs(model, *inputs) for model in (before, after)]
    for names in zip_longest(*([cost.name for cost in costs] for costs in calls)):
        if len(set(names)) > 1:
            raise ValueError(f"before and after must call the same layers, got {names[0]!r} and {names[1]!r}")
    pairs = zip(*calls, strict=True)
    return [
        LayerChange(
            name=old.name,
            kind=type(new.layer).__name__,
            channels_before=_channels(old.layer),
            channels_after=_channels(new.layer),
            parameters_before=old.parameters,
            parameters_after=new.parameters,
            macs_before=old.macs,
            macs_after=new.macs,
        )
        for old, new in pairs
    ]


def _channels(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
