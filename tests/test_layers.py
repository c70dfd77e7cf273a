"""Imports run one way; see "Layout" in the README."""

import ast
from pathlib import Path

import pytest

import multipath_gcn

ROOT = Path(multipath_gcn.__file__).parent
ORDER = ["graph", "ops", "nn", "models", "prune", "tasks", "train"]
FREE = {"data", "fit", "report"}  # know none of the above; tasks know the data, train knows all
LEAVES = {"files", "machine", "progress", "checkpoint", "run_directory"}  # small modules that know no network
ALLOWED = {
    "data": {"files"},
    "report": {"files"},
    "fit": {"files", "machine", "checkpoint"},
    "checkpoint": {"files"},
    "run_directory": {"files"},
    "files": set(),
    "machine": set(),
    "progress": set(),
    "train": {*ORDER, *FREE, *LEAVES},
    "cli": {"train"},
    "__main__": {"cli"},
    "__init__": set(),
    **{name: {*ORDER[:i]} for i, name in enumerate(ORDER[:-1])},
}
ALLOWED["tasks"] |= {"data"}


def imports():
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            for name in names:
                parts = name.split(".")
                if parts[0] == "multipath_gcn" and len(parts) > 1 and parts[1] != room:
                    yield path.relative_to(ROOT), room, parts[1]


def test_arrows_run_one_way():
    found = list(imports())
    assert len(found) > 20  # the walk sees the package
    wrong = [f"{path} must not import {other}" for path, room, other in found if other not in ALLOWED.get(room, set())]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_its_rule():
    rooms = {path.relative_to(ROOT).with_suffix("").parts[0] for path in ROOT.rglob("*.py")}
    assert not rooms - set(ALLOWED), f"no rule for {rooms - set(ALLOWED)}"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400
