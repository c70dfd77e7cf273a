"""A sweep (``-m``) before, while and after it runs: what it must not contain, how it goes, which runs have failed."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from multipath_gcn.failure import NAME, read_failure
from multipath_gcn.live import LiveSweep

_begun: list[tuple[Path, float]] = []
_live: list[LiveSweep] = []
_PARAMS = "hydra.sweeper.params."


def check_choices(overrides: Sequence[str]) -> None:
    """What Hydra would not mind.

    Args:
        overrides: of the command line.

    Raises:
        ValueError: for a list of values in which one stands twice, or that is empty.
    """
    for override in _parsed(overrides):
        if override.key_or_group.startswith(_PARAMS):  # the same as an override in quotes
            check_choices([f"{override.key_or_group.removeprefix(_PARAMS)}={override.value()}"])
        if not override.is_discrete_sweep():
            continue
        key, values = override.get_key_element(), list(override.sweep_string_iterator())
        if not values:
            raise ValueError(f"{key} must have at least one value, got none from {override.input_line}")
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise ValueError(f"{key} must have every value once, got {', '.join(twice)} twice in {override.input_line}")


def expected(params: Mapping[str, Any], overrides: Sequence[str]) -> int:
    """How many runs all combinations are.

    Args:
        params: of the sweeper, lists of values in Hydra's words; those of the command line replace them.
        overrides: of the command line.
    """
    chosen = {o.key_or_group: o for o in _parsed([*(f"{key}={value}" for key, value in params.items()), *overrides])}
    return math.prod(len(list(o.sweep_string_iterator())) for o in chosen.values() if o.is_discrete_sweep())


class Remember(Callback):
    """Keeps in mind where the sweep of this process has its runs, and since when; shows in a terminal how it goes."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        folder, sweeper = Path(config.hydra.sweep.dir), config.hydra.sweeper
        _begun.append((folder, time.time()))
        combinations = expected(sweeper.get("params") or {}, config.hydra.overrides.task)
        _live.append(LiveSweep(folder, sweeper.get("n_trials", combinations)))
        _live[-1].start()


def forget() -> None:
    """Of a sweep that this process ran before, or has just ended."""
    _begun.clear()
    while _live:
        _live.pop().stop()


def failures() -> list[tuple[Path, str]]:
    """The runs of the last sweep of this process that have failed, and why; none if there was no sweep."""
    if not _begun:
        return []
    folder, since = _begun.pop()
    found = [path.parent for path in sorted(folder.rglob(NAME)) if path.stat().st_mtime >= since]
    return [(path, reason) for path in found if (reason := read_failure(path)) is not None]


def _parsed(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))
