"""A pruned model on disk: an architecture record in JSON and arrays, nothing that is executed when it is read."""

import copy
import json
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from multipath_gcn.files import write_atomically
from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.plan import Plan

FORMAT = 1
RECORD, WEIGHTS = "architecture.json", "weights.npz"


def save_pruned(directory: str | PathLike, model: nn.Module, plans: Plan | Sequence[Plan]) -> None:
    """Writes ``architecture.json`` and ``weights.npz``.

    Args:
        directory: is made; files of these names in it are replaced.
        model: what the plans have left of another.
        plans: what was removed, in the order in which it was.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    plans = [plans] if isinstance(plans, Plan) else list(plans)
    state = model.state_dict()
    record = {
        "format": FORMAT,
        "plans": [plan.to_json() for plan in plans],
        "tensors": {
            name: {"shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch.")} for name, t in state.items()
        },
    }
    arrays = {name: _array(tensor) for name, tensor in state.items()}
    write_atomically(directory / WEIGHTS, lambda file: np.savez(file, **arrays))
    write_atomically(directory / RECORD, lambda file: file.write(json.dumps(record).encode()))


def load_pruned(directory: str | PathLike, model: nn.Module) -> nn.Module:
    """Cuts ``model`` as the saved one was, in place, and gives it the saved weights.

    Args:
        directory: what :func:`save_pruned` wrote.
        model: as it was built before anything was removed, with whatever weights.

    Returns:
        ``model``.

    Raises:
        ValueError: for a directory without the two files, another format, or a model that is not the one.
    """
    directory = Path(directory)
    record = _record(directory)
    trial = copy.deepcopy(model)  # a model that is not the one is left as it was
    cut_as_saved(directory, trial)
    with np.load(directory / WEIGHTS, allow_pickle=False) as arrays:
        state = {name: _tensor(arrays[name], told["dtype"]) for name, told in record["tensors"].items()}
    try:
        trial.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"model must be the one that was saved in {directory}: {error}") from error
    cut_as_saved(directory, model)
    model.load_state_dict(state)
    return model


def cut_as_saved(directory: str | PathLike, model: nn.Module) -> None:
    """Cuts ``model`` as the saved one was, in place, and leaves its weights as they are.

    Raises:
        ValueError: as :func:`load_pruned`.
    """
    record = _record(Path(directory))
    for plan in map(Plan.from_json, record["plans"]):
        _with_biases(model, plan.kept)
        cut(model, plan)
    _with_biases(model, record["tensors"])


def _record(directory: Path) -> dict[str, Any]:
    missing = [name for name in (RECORD, WEIGHTS) if not (directory / name).is_file()]
    if missing:
        raise ValueError(f"directory must hold {RECORD} and {WEIGHTS}, {directory} has no {' and no '.join(missing)}")
    record = json.loads((directory / RECORD).read_bytes())
    if record.get("format") != FORMAT:
        raise ValueError(f"{RECORD} must be of format {FORMAT}, got {record.get('format')!r}")
    return record


def _with_biases(model: nn.Module, names: Iterable[str]) -> None:
    """Compensation may have given a bias to layers that had none."""
    for name in set(names) - model.state_dict().keys():
        path, _, attribute = name.rpartition(".")
        layer = dict(model.named_modules()).get(path)
        if attribute == "bias" and getattr(layer, "bias", "") is None:
            rows = layer.weight.size(1 if isinstance(layer, _ConvTransposeNd) else 0)
            layer.bias = nn.Parameter(layer.weight.new_zeros(rows))


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _tensor(array: np.ndarray, dtype: str) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor
