"""The network of a configuration, made for the sizes of a task."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn


def make_network(config: DictConfig, sizes: dict[str, Any]) -> nn.Module:
    """The network that ``config`` describes, of the ``sizes`` that its task gives: ``in_channels``, ``out_channels``
    and what else the task knows of its data.

    Raises:
        ValueError: for a model that does not take them, or needs others, such as one of images where frames are
            forecast.
    """
    try:
        return instantiate(config, **sizes, _convert_="all")
    except InstantiationException as error:
        if not isinstance(error.__cause__, TypeError):
            raise
        rule = f"take {', '.join(sizes)} of this task, and nothing besides but its own options"
        raise ValueError(f"model must {rule}, got {config._target_}: {error.__cause__}") from error
