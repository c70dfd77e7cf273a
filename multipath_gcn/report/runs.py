"""Finds run directories, and sorts what is in them into runs that count and problems that are listed."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from multipath_gcn.failure import read_failure

from .files import read_curve, read_result

COSTS = ("macs", "parameters", "latency")


@dataclass(frozen=True)
class Pruning:
    """What a run that pruned left, as parts of what there was, its milliseconds, and test scores by moment."""

    macs: float
    parameters: float
    ms_before: float
    ms: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Run:
    """One complete run. Scores are fractions; `curve` holds validation scores from epoch 1, `None` if unreadable."""

    path: Path
    data: str
    model: str
    label: str
    config: str
    seed: int
    metric: str
    valid: float
    test: float
    best_epoch: int
    paper_test: float
    paper_epoch: int
    parameters: int
    seconds: float
    seconds_per_epoch: float
    peak_mib: float
    hardware: str
    curve: tuple[float, ...] | None
    pruning: Pruning | None = None
    version: str = ""


@dataclass(frozen=True)
class Problem:
    """Something a reader of the report must know about.

    Kinds: failed, incomplete, corrupt, duplicate, no curve, versions.
    """

    kind: str
    path: Path
    reason: str


def read_runs(folders: Sequence[str | os.PathLike]) -> tuple[list[Run], list[Problem]]:
    """All complete runs below the folders, each (data, model, config, seed) once, and everything that is wrong."""
    runs: dict[tuple, Run] = {}
    problems: list[Problem] = []
    for path in run_folders(folders, problems):
        run, wrong = _read_run(path)
        key = None if run is None else (run.data, run.model, run.config, run.seed)
        if key in runs:
            first = runs[key]
            score = "the same" if run.test == first.test else f"another ({run.test:.4f}, not {first.test:.4f})"
            wrong = Problem("duplicate", path, f"seed {run.seed} counts from {first.path}; {score} test score here")
        elif key is not None:
            runs[key] = run
        problems += [wrong] if wrong else []
    return list(runs.values()), problems + _mixed_versions(runs.values())


def _mixed_versions(runs: Iterable[Run]) -> list[Problem]:
    """One for each row of the report whose seeds were computed by different versions."""
    rows: dict[tuple, dict[str, list[Run]]] = {}
    for run in runs:
        versions = rows.setdefault((run.data, run.model, run.label, run.config), {})
        versions.setdefault(run.version or "unknown", []).append(run)
    return [
        Problem("versions", next(iter(found.values()))[0].path.parent, f"a row mixes {_seeds_by_version(found)}")
        for found in rows.values()
        if len(found) > 1
    ]


def _seeds_by_version(found: dict[str, list[Run]]) -> str:
    told = {version: ", ".join(map(str, sorted(run.seed for run in runs))) for version, runs in found.items()}
    return "; ".join(f"version {version} (seed {seeds})" for version, seeds in sorted(told.items()))


def run_folders(folders: Sequence[str | os.PathLike], problems: list[Problem]) -> Iterator[Path]:
    def unlistable(error: OSError) -> None:
        problems.append(Problem("corrupt", Path(error.filename), f"folder cannot be listed: {error.strerror}"))

    seen: set[str] = set()  # by real path: folders may overlap, and links may form a loop
    for folder in folders:
        found = False
        for place, below, files in os.walk(folder, followlinks=True, onerror=unlistable):
            real, is_run = os.path.realpath(place), "config.yaml" in files
            if real in seen:
                below.clear()
                found = True
                continue
            seen.add(real)
            # Hidden folders (`.hydra`) and what a logger writes inside a run hold a config.yaml but are no runs.
            below[:] = sorted(name for name in below if name[0] != "." and not (is_run and name == "wandb"))
            if is_run:
                yield Path(place)
            elif "result.json" in files:
                problems.append(Problem("incomplete", Path(place), "no config.yaml beside result.json"))
            found = found or is_run or "result.json" in files
        if not found:
            problems.append(Problem("incomplete", Path(folder), "no folder in it holds a config.yaml"))


def _read_run(path: Path) -> tuple[Run | None, Problem | None]:
    try:
        fields = read_result(path / "result.json")
    except FileNotFoundError:
        reason = read_failure(path)
        if reason is not None:
            return None, Problem("failed", path, reason + _progress(path))
        return None, Problem("incomplete", path, "no result.json" + _progress(path))
    except (ValueError, OSError) as error:
        return None, Problem("corrupt", path, str(error))
    curve, problem = None, None
    try:
        curve = _curve(path, fields["best_epoch"])
    except (ValueError, OSError) as error:
        problem = Problem("no curve", path, str(error))
    if fields.pop("synthetic") and "synthetic" not in fields["data"].lower():
        fields["data"] += " (synthetic)"
    pruned = {name: fields.pop(name) for name in list(fields) if name.startswith("pruning.")}
    flat = {"paper.test": "paper_test", "paper.epoch": "paper_epoch"}
    fields = {flat.get(name, name.split(".")[-1]): value for name, value in fields.items()}
    return Run(path=path, curve=curve, pruning=_pruning(pruned), **fields), problem


def _pruning(fields: dict[str, float]) -> Pruning | None:
    if not fields:
        return None
    before, after = ({name: fields[f"pruning.{when}.{name}"] for name in COSTS} for when in ("before", "after"))
    scores = {name.split(".")[2]: value for name, value in fields.items() if name.startswith("pruning.scores.")}
    macs, parameters = (after[name] / before[name] for name in ("macs", "parameters"))
    return Pruning(macs, parameters, before["latency"], after["latency"], scores)


def _curve(path: Path, best_epoch: int) -> tuple[float, ...]:
    try:
        curve = read_curve(path / "history.csv")
    except FileNotFoundError:
        raise ValueError("no history.csv") from None
    if len(curve) < best_epoch:
        raise ValueError(f"history.csv ({len(curve)} epochs) must reach the best epoch ({best_epoch})")
    return curve


def _progress(path: Path) -> str:
    try:
        return f"; history.csv ends at epoch {len(_curve(path, 0))}"
    except (ValueError, OSError):
        return ""
