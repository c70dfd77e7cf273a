"""What a finished run leaves: its network, and what that was trained on."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from multipath_gcn.network import make_network
from multipath_gcn.prune import cut_as_saved


def load_trained(directory: str | PathLike) -> nn.Module:
    """The network of a finished run with the weights of its best epoch, in evaluation mode, on the CPU.

    Args:
        directory: a run directory of ``multipath-gcn``, of a training or a pruning.

    Raises:
        ValueError: for a directory that holds no finished run, or one of a version that did not record widths.
    """
    directory = Path(directory)
    config = _config(directory)
    result = json.loads((directory / "result.json").read_bytes())
    if "in_channels" not in result:
        raise ValueError(f"directory must hold a run that recorded its widths, {directory} is older: run it again")
    widths = {name: result[name] for name in ("in_channels", "out_channels")}
    model = make_network(config.model, widths | result.get("further_sizes", {}))
    if hasattr(get_object(config.task._target_), "prepare"):  # which may have trained several of it as one
        model = task_of(dataset_of(directory), directory).prepare(model)
    if "pruning" in result:
        cut_as_saved(directory, model)
    weights = torch.load(directory / "model.pt", map_location="cpu", weights_only=True)
    types = {weight.dtype for weight in weights.values() if weight.is_floating_point()}
    if len(types) == 1:  # as it was trained: 64-true
        model.to(types.pop())
    model.load_state_dict(weights)
    return model.eval()


def network_of(directory: str | PathLike, in_channels: int, out_channels: int) -> nn.Module:
    """:func:`load_trained`, for a configuration; the widths are those that the run has recorded."""
    return load_trained(directory)


def dataset_of(directory: str | PathLike | None) -> Any:
    """The data set of a finished run.

    Raises:
        ValueError: for a directory that holds no finished run, or None.
    """
    return instantiate(_config(_given(directory)).data)


def name_of(directory: str | PathLike | None) -> str:
    """What reports call the network of a finished run.

    Raises:
        ValueError: as :func:`dataset_of`.
    """
    directory = _given(directory)
    _config(directory)
    return json.loads((directory / "result.json").read_bytes())["model"]


def task_of(dataset: Any, directory: str | PathLike, device: Any = "cpu") -> Any:
    """The task of a finished run, for its data set; of a pruning, that of the network that was pruned."""
    task = instantiate(_config(Path(directory)).task)
    return task.keywords["task"](dataset, device=device) if "method" in task.keywords else task(dataset, device=device)


def _given(directory: str | PathLike | None) -> Path:
    if directory is None:
        raise ValueError("run must be the directory of a finished run for task=prune, got null")
    return Path(directory)


def _config(directory: Path) -> DictConfig:
    needed = [directory / name for name in ("config.yaml", "result.json", "model.pt")]
    if missing := [path.name for path in needed if not path.is_file()]:
        raise ValueError(f"directory must hold a finished run, {directory} has no {', '.join(missing)}")
    return OmegaConf.load(directory / "config.yaml")
