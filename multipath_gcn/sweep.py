"""A sweep (``-m``) before it starts and after it ends: what it must not contain, and which of its runs have failed."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from multipath_gcn.failure import NAME, read_failure

_begun: list[tuple[Path, float]] = []


def check_choices(overrides: Sequence[str]) -> None:
    """What Hydra would not mind.

    Args:
        overrides: of the command line.

    Raises:
        ValueError: for a list of values in which one stands twice, or that is empty.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if not override.is_discrete_sweep():
            continue
        key, values = override.get_key_element(), list(override.sweep_string_iterator())
        if not values:
            raise ValueError(f"{key} must have at least one value, got none from {override.input_line}")
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise ValueError(f"{key} must have every value once, got {', '.join(twice)} twice in {override.input_line}")


class Remember(Callback):
    """Keeps in mind where the sweep of this process has its runs, and since when."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        _begun.append((Path(config.hydra.sweep.dir), time.time()))


def forget() -> None:
    """Of a sweep that this process ran before."""
    _begun.clear()


def failures() -> list[tuple[Path, str]]:
    """The runs of the last sweep of this process that have failed, and why; none if there was no sweep."""
    if not _begun:
        return []
    folder, since = _begun.pop()
    found = [path.parent for path in sorted(folder.rglob(NAME)) if path.stat().st_mtime >= since]
    return [(path, reason) for path in found if (reason := read_failure(path)) is not None]
