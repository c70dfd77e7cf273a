"""What pruning did to every layer."""

from collections import deque
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
        ValueError: for models that call other layers, or in another order.
    """
    calls, left = layer_costs(before, *inputs), deque(layer_costs(after, *inputs))
    found = []
    for old in calls:
        new = left.popleft() if left and left[0].name == old.name else None  # of a branch that is gone, nothing
        found.append(
            LayerChange(
                name=old.name,
                kind=type(old.layer if new is None else new.layer).__name__,
                channels_before=_channels(old.layer),
                channels_after=0 if new is None else _channels(new.layer),
                parameters_before=old.parameters,
                parameters_after=0 if new is None else new.parameters,
                macs_before=old.macs,
                macs_after=0 if new is None else new.macs,
            )
        )
    if left:
        names = [old.name for old in calls]
        raise ValueError(f"after must call layers of before in their order, {names}, got {left[0].name!r}")
    return found


def _channels(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
