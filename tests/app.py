"""The Hydra application inside the test's own process: quick, since PyTorch is loaded already."""

import json
import sys
from pathlib import Path

import pytest

from multipath_gcn.job import main

QUICK = ("data=digits", "fit.epochs=2")
SMALL = {  # tasks with data of their own
    "mesh": ["data.train=2", "data.valid=1", "data.test=1", "data.level=1", "hidden_channels=8", "fit.epochs=2"],
    "active": ["task.members=2", "task.steps=2", "hidden_channels=8", "fit.epochs=2"],
    "sequence": ["fit.epochs=2"],
    "zero_shot": ["fit.epochs=2"],
}


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *overrides: str) -> list[dict]:
    """Runs ``multipath-gcn`` with the overrides and returns the results found below ``folder``, sorted by path."""
    monkeypatch.setattr(sys, "argv", ["multipath-gcn", *overrides, f"runs={folder}"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    main()
    return results(folder)


def results(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("result.json"))]


def numbers(result: dict) -> dict:
    """What must not depend on the machine's mood."""
    return {key: value for key, value in result.items() if key not in ("timing", "memory", "host")}
