"""Imports run one way; see "Layout" in the README."""

import ast
from pathlib import Path

import pytest

import multipath_gcn

ROOT = Path(multipath_gcn.__file__).parent
ORDER = ["windows", "conv_geometry", "graph", "ops", "nn", "models", "prune", "tasks", "train"]
FREE = {"data", "fit", "report"}  # know none of the above; tasks know the data, train knows all
LEAVES = {
    "files",
    "machine",
    "progress",
    "checkpoint",
    "run_directory",
    "settings",
    "errors",
    "failure",
    "lock",
    "processes",
    "live",
    "_build_info",
}  # small modules that know no network
ALLOWED = {
    "data": {"files"},
    "report": {"files", "failure", "lock"},
    "fit": {"files", "machine", "checkpoint"},
    "checkpoint": {"files"},
    "run_directory": {"files"},
    "files": set(),
    "machine": set(),
    "settings": set(),
    "progress": set(),
    "network": set(),  # instantiates what a configuration names
    "train": {*ORDER, *FREE, *LEAVES, "fabric", "network", "__version__"},
    "fabric": {"processes"},
    "job": {*LEAVES, "train", "trained"},
    "trained": {"prune", "network"},  # what is instantiated is named by a configuration
    "errors": set(),
    "failure": {"files"},
    "lock": set(),
    "processes": set(),
    "live": {"report"},
    "sweep": {"failure", "live"},
    "cli": {"job", "sweep", "errors"},
    "__main__": {"cli"},
    "__init__": {"_build_info"},
    "_build_info": {"_kernels"},  # the compiled one
    "_native": {"_build_info"},
    "kernels": {"_kernels", "windows", "conv_geometry"},
    **{name: {*ORDER[:i]} for i, name in enumerate(ORDER[:-1])},
}
ALLOWED["tasks"] |= {"data"}
ALLOWED["prune"] |= {"files"}
ALLOWED["tasks"] |= {"files", "machine", "report"}
ALLOWED["models"] |= {"kernels", "files"}  # networks are written for the kernels on arrays
ALLOWED["ops"] |= {"_native"}


def imports():
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).with_suffix("").parts[0]
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "multipath_gcn" and len(parts) > 1 and parts[1] != room:
                yield path.relative_to(ROOT), room, parts[1]


def imported(path):
    """Full names; one that is imported from a package may be a module of it."""
    package = ("multipath_gcn", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *([node.module] if node.module else [])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_every_way_to_import_is_seen(tmp_path):
    path = ROOT / "nn" / "probe.py"  # never written: only its place counts
    lines = [
        "import multipath_gcn.train",
        "from multipath_gcn import fit",
        "from ..models import GCN",
        "from .. import data",
    ]
    source = tmp_path / "probe.py"
    source.write_text("\n".join(lines))

    class Probe(type(path)):
        def read_text(self):
            return source.read_text()

    assert [name.split(".")[1] for name in imported(Probe(path))] == ["train", "fit", "models", "data"]


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
