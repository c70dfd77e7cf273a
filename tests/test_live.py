"""A sweep in a terminal, which is a pseudo one here."""

import os
import pty
import re
import subprocess
import sys

import app
import pytest


@pytest.mark.parametrize("launcher", [(), ("launcher=joblib",)], ids=["in-process", "joblib"])
def test_a_terminal_shows_the_sweep_and_not_its_runs(tmp_path, launcher):
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "multipath_gcn", "-m", "seed=0,1", *app.QUICK, *launcher, f"runs={tmp_path}"]
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    sweep = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while piece := _read(mine):
        shown += piece
    assert sweep.wait(timeout=100) == 0 and len(app.results(tmp_path)) == 2
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))
    assert "running 0  done 2  failed 0  stopped 0  waiting 0" in text
    assert "best: digits multipath seed" in text
    assert "at best validation" not in text  # the runs' own lines are in their logs
    logs = [path.read_text() for path in tmp_path.rglob("train.log")]
    assert len(logs) == 2 and all("at best validation" in log for log in logs)


def _read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux: the other end is closed
        return b""
