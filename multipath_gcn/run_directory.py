"""Which directory belongs to which run, and what of it is already there."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from multipath_gcn.files import PARTIAL, set_aside, write_atomically

# What a run may change without becoming another run.
_INCIDENTAL = ("hydra", "runs", "logger", "launcher", "search", "experiment", "metric")
_INCIDENTAL_FIT = ("checkpoint_seconds",)
_LATER = ("prune", "budget", "run")  # options that older runs had not: unset, a run is the one it was
_LATER_ALONE = ("measure",)
_NOTHING = object()
_LATER_BELOW = {  # of these values, as if it were not there
    "fit": {"ema": None},
    "budget": {"all": False},
    "model": {"path_dropout": 0.0},
    "task": {"hops": 0, "refine": None},
}


def config_id(cfg: DictConfig) -> str:
    """Eight hexadecimal digits that stand for the whole configuration but for the seed and what is incidental."""
    return hashlib.sha256(
        json.dumps(_same_numbers(_identity(cfg, with_seed=False)), sort_keys=True).encode()
    ).hexdigest()[:8]


def claim(directory: Path, cfg: DictConfig) -> None:
    """Writes ``config.yaml`` with every interpolation resolved; the directory then belongs to this configuration.

    Raises:
        ValueError: if the directory already holds a run of another configuration (the message names the keys), or a
            ``config.yaml`` that cannot be read, which is then renamed.
    """
    for left in directory.glob(f".*{PARTIAL}"):  # of a write that was killed
        left.unlink()
    path = directory / "config.yaml"
    if path.exists():
        mine, theirs = _flat(_identity(cfg)), _flat(_read_identity(path))
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
        for key in ("valid", "test"):
            if not math.isfinite(result[key]):
                raise ValueError(f"{key} is {result[key]}")
    except (ValueError, TypeError, LookupError, OSError) as error:
        kept = set_aside(path)
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); it is kept as {kept.name}, start again"
        ) from error
    return result


def _identity(cfg: DictConfig, with_seed: bool = True) -> dict[str, Any]:
    unresolved = OmegaConf.to_container(cfg, resolve=False)
    unset = _LATER if all(unresolved.get(key) is None for key in _LATER) else ()
    unset += tuple(key for key in _LATER_ALONE if not unresolved.get(key))
    chosen = {key: value for key, value in unresolved.items() if key not in (*_INCIDENTAL, *unset)}
    if not with_seed:
        chosen["seed"] = 0  # replaced rather than dropped: other values may refer to it
    content = OmegaConf.to_container(OmegaConf.create(chosen), resolve=True)
    content["fit"] = {key: value for key, value in content["fit"].items() if key not in _INCIDENTAL_FIT}
    for group, defaults in _LATER_BELOW.items():
        if isinstance(below := content.get(group), dict):
            content[group] = {key: value for key, value in below.items() if value != defaults.get(key, _NOTHING)}
    return content


def _read_identity(path: Path) -> dict[str, Any]:
    try:
        return _identity(OmegaConf.load(path))
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, AttributeError, LookupError, OSError) as error:
        kept = set_aside(path)
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); it is kept as {kept.name}, start again"
        ) from error


def _same_numbers(tree: Any) -> Any:
    """0 and 0.0 are the same value of an option, and must be the same run."""
    if isinstance(tree, dict):
        return {key: _same_numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_same_numbers(value) for value in tree]
    return float(tree) if isinstance(tree, int) and not isinstance(tree, bool) else tree


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{prefix}{key}.").items()}
    return {prefix[:-1]: tree}
