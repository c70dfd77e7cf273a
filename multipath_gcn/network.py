"""The network of a configuration, made for the sizes of a task."""

import inspect
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig
from torch import nn


def make_network(config: DictConfig, sizes: dict[str, Any]) -> nn.Module:
    """The network that ``config`` describes, of the ``sizes`` that its task gives: ``in_channels``, ``out_channels``
    and what else the task knows of its data.

    Raises:
        ValueError: for a model that does not take one of them, such as one of images where frames are forecast.
    """
    parameters = inspect.signature(get_object(config._target_)).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        names = [parameter.name for parameter in parameters]
        if unknown := [size for size in sizes if size not in names]:
            kind = config._target_.rsplit(".", 1)[-1]
            raise ValueError(f"model must take {', '.join(unknown)} for this task, got {kind}({', '.join(names)})")
    return instantiate(config, **sizes, _convert_="all")
