import json
from pathlib import Path

import pytest

HEADER = "epoch,loss,lr,train,valid,test,valid_loss,seconds\n"


@pytest.fixture
def write_run(tmp_path):
    """Writes a complete run below `tmp_path / "runs"`; dotted names in `change` replace fields, `None` removes one."""

    def write(name, change=None, curve=(0.5, 0.6, 0.7), **fields) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("seed: 0\n")
        rows = (f"{epoch},1.0,0.01,0.9,{valid},0.5,1.1,0.03\n" for epoch, valid in enumerate(curve, start=1))
        (folder / "history.csv").write_text(HEADER + "".join(rows))
        result = {
            **{"data": "cora", "model": "plain", "config": "1a2b3c4d", "label": "", "seed": 0, "metric": "acc"},
            **{"synthetic": False, "train": 1.0, "valid": 0.81, "test": 0.80, "best_epoch": 2, "epochs": 3},
            "paper": {"test": 0.82, "epoch": 3},
            "parameters": 217479,
            "timing": {"seconds": 3.2, "seconds_per_epoch": 0.03, "setup_seconds": 1.1},
            "memory": {"peak_mib": 800.0},
            "host": {"device": "cpu", "hardware": "Some CPU, 2 threads", "threads": 2, "torch": "2.13.0"},
            "restarts": 0,
        } | fields
        for dotted, value in (change or {}).items():
            *parents, last = dotted.split(".")
            place = result
            for parent in parents:
                place = place[parent]
            if value is None:
                del place[last]
            else:
                place[last] = value
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return write


@pytest.fixture
def runs(tmp_path):
    """The folder that `write_run` writes below."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder
