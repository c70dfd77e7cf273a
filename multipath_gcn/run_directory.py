"""Which directory belongs to which run, and what of it is already there."""

import hashlib
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from multipath_gcn.files import set_aside, write_atomically

# What a run may change without becoming another run.
_INCIDENTAL = ("hydra", "runs", "logger", "launcher", "search", "experiment", "metric")
_INCIDENTAL_FIT = ("checkpoint_seconds",)


def config_id(cfg: DictConfig) -> str:
    """Eight hexadecimal digits that stand for everything that decides a run's numbers, but for the seed."""
    return hashlib.sha256(json.dumps(_identity(cfg, with_seed=False), sort_keys=True).encode()).hexdigest()[:8]


def claim(directory: Path, cfg: DictConfig) -> None:
    """Writes ``config.yaml`` with every interpolation resolved; the directory then belongs to this configuration.

    Raises:
        ValueError: if the directory already holds a run of another configuration; the message names the keys.
    """
    path = directory / "config.yaml"
    if path.exists():
        mine, theirs = _flat(_identity(cfg)), _flat(_identity(OmegaConf.load(path)))
        if differing := sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)):
            keys = ", ".join(f"{key} ({theirs.get(key)!r} there, {mine.get(key)!r} here)" for key in differing[:8])
            raise ValueError(f"hydra.run.dir must be empty or hold the same run, {directory} differs in: {keys}")
    write_atomically(path, lambda file: file.write(OmegaConf.to_yaml(cfg, resolve=True).encode()))


def read_result(directory: Path) -> dict[str, Any] | None:
    """The result of a complete run, or ``None``.

    Raises:
        ValueError: if ``result.json`` cannot be read; it is renamed, so that the next start writes it anew.
    """
    path = directory / "result.json"
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_bytes())
        if not isinstance(result, dict):
            raise ValueError(f"expected an object, got {type(result).__name__}")
    except ValueError as error:
        kept = set_aside(path)
        raise ValueError(f"{path} cannot be read ({error}); it is kept as {kept.name}, start again") from error
    return result


def _identity(cfg: DictConfig, with_seed: bool = True) -> dict[str, Any]:
    chosen = OmegaConf.masked_copy(cfg, [key for key in cfg if key not in _INCIDENTAL])
    if not with_seed:
        chosen.seed = 0  # replaced rather than dropped: other values may refer to it
    content = OmegaConf.to_container(chosen, resolve=True)
    content["fit"] = {key: value for key, value in content["fit"].items() if key not in _INCIDENTAL_FIT}
    return content


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}
    return {prefix[:-1]: tree}
