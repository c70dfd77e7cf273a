"""What a finished run leaves: its network."""

import json
from os import PathLike
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn


def load_trained(directory: str | PathLike) -> nn.Module:
    """The network of a finished run with the weights of its best epoch, in evaluation mode, on the CPU.

    Args:
        directory: a run directory of ``multipath-gcn``.

    Raises:
        ValueError: for a directory that holds no finished run, or one of a version that did not record widths.
    """
    directory = Path(directory)
    needed = [directory / name for name in ("config.yaml", "result.json", "model.pt")]
    if missing := [path.name for path in needed if not path.is_file()]:
        raise ValueError(f"directory must hold a finished run, {directory} has no {', '.join(missing)}")
    result = json.loads((directory / "result.json").read_bytes())
    if "in_channels" not in result:
        raise ValueError(f"directory must hold a run that recorded its widths, {directory} is older: run it again")
    widths = {name: result[name] for name in ("in_channels", "out_channels")}
    model = instantiate(OmegaConf.load(directory / "config.yaml").model, **widths, _convert_="all")
    weights = torch.load(directory / "model.pt", map_location="cpu", weights_only=True)
    types = {weight.dtype for weight in weights.values() if weight.is_floating_point()}
    if len(types) == 1:  # as it was trained: 64-true
        model.to(types.pop())
    model.load_state_dict(weights)
    return model.eval()
