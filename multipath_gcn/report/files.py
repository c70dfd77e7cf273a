"""The two files of a run that the report reads, and what must hold for each."""

import csv
import json
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rule = tuple[str, Callable[[Any], bool]]

# A bool is an int in Python but never a number in a result. NaN fails every comparison, so the bounds refuse it.
_LIMIT = 2**63


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return (isinstance(value, float) or _integer(value)) and 0 <= value < _LIMIT


TEXT: Rule = ("a printable, non-empty string", lambda v: isinstance(v, str) and v.isprintable() and bool(v.strip()))
LABEL: Rule = ("a printable string", lambda v: isinstance(v, str) and v.isprintable())
FLAG: Rule = ("true or false", lambda v: isinstance(v, bool))
SEED: Rule = ("an integer >= 0", lambda v: _integer(v) and _number(v))
COUNT: Rule = ("an integer >= 1", lambda v: _integer(v) and 1 <= v < _LIMIT)
NUMBER: Rule = ("a finite number >= 0", _number)
SCORE: Rule = ("a number from 0 to 1", lambda v: _number(v) and v <= 1)

FIELDS: dict[str, Rule] = {
    "data": TEXT,
    "model": TEXT,
    "config": TEXT,
    "label": LABEL,
    "version": LABEL,
    "seed": SEED,
    "metric": TEXT,
    "synthetic": FLAG,
    "valid": SCORE,
    "test": SCORE,
    "best_epoch": COUNT,
    "paper.test": SCORE,
    "paper.epoch": COUNT,
    "parameters": SEED,
    "timing.seconds": NUMBER,
    "timing.seconds_per_epoch": NUMBER,
    "memory.peak_mib": NUMBER,
    "host.hardware": TEXT,
}


PRUNING: dict[str, Rule] = {
    **{f"pruning.{when}.{name}": COUNT for when in ("before", "after") for name in ("macs", "parameters")},
    **{f"pruning.{when}.latency": NUMBER for when in ("before", "after")},
    **{f"pruning.scores.{name}.test": SCORE for name in ("before", "straight")},
}
REESTIMATED = "pruning.scores.reestimated.test"


def read_result(path: Path) -> dict[str, Any]:
    """The fields above of a `result.json`, by dotted name; `ValueError` says which one is missing or wrong.

    Those of a pruning where there was one, and its scores with norms counted again where they were.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path.name} is not valid JSON: nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{path.name} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must hold a JSON object, got {reprlib.repr(content)}")
    fields = FIELDS
    if "pruning" in content:
        told = content["pruning"]
        scores = told.get("scores") if isinstance(told, dict) else None
        reestimated = isinstance(scores, dict) and "reestimated" in scores
        fields = FIELDS | PRUNING | ({REESTIMATED: SCORE} if reestimated else {})
    return {name: _field({"label": "", "version": "", **content}, name, *rule) for name, rule in fields.items()}


def _field(content: dict[str, Any], name: str, rule: str, holds: Callable[[Any], bool]) -> Any:
    value: Any = content
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"result.json must have the key {name}")
        value = value[part]
    if not holds(value):
        raise ValueError(f"{name} ({reprlib.repr(value)}) in result.json must be {rule}")
    return value


def read_curve(path: Path) -> tuple[float, ...]:
    """The validation scores of a `history.csv`, from epoch 1 on; `ValueError` says what is wrong with it."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path.name} is not valid CSV: {error}") from None
    missing = [name for name in ("epoch", "valid") if name not in columns]
    if missing:
        raise ValueError(f"{path.name} must have the column {missing[0]}, got {columns}")
    if not rows:
        raise ValueError(f"{path.name} must have at least one epoch, got none")
    for line, row in enumerate(rows, start=1):
        # DictReader files surplus cells under None and fills missing ones with None.
        if None in row or None in row.values():
            raise ValueError(f"epoch {line} of {path.name} must have {len(columns)} cells")
        if row["epoch"] != str(line):
            raise ValueError(f"epoch ({reprlib.repr(row['epoch'])}) in line {line + 1} of {path.name} must be {line}")
        if not _is_score(row["valid"]):
            raise ValueError(f"valid ({reprlib.repr(row['valid'])}) at epoch {line} of {path.name} must be {SCORE[0]}")
    return tuple(float(row["valid"]) for row in rows)


def _is_score(cell: str) -> bool:
    try:
        return SCORE[1](float(cell))
    except ValueError:
        return False
