import io
import time

import pytest
from rich.console import Console

from multipath_gcn.failure import record_failure
from multipath_gcn.lock import held
from multipath_gcn.report.watch import Watched, draw, watch


def test_every_state_is_told(runs, write_run):
    write_run("done", valid=0.9)
    for name in ("running", "failed", "stopped"):
        (write_run(name, seed=1) / "result.json").unlink()
    record_failure(runs / "failed", "loss must be finite, got nan")
    with held(runs / "running"):
        found = Watched([runs]).look()
        assert found.counts == {"done": 1, "running": 1, "failed": 1, "stopped": 1}
        assert found.working == [(runs / "running", 3, 0.7)]
    assert found.failed == [(runs / "failed", "loss must be finite, got nan")]
    assert found.best == "cora plain seed 0: validation 90.00 %"
    assert Watched([runs]).look().counts["running"] == 0


def test_a_run_of_which_nothing_is_written_yet_is_running(runs, write_run):
    folder = write_run("new")
    for name in ("result.json", "history.csv"):
        (folder / name).unlink()
    with held(folder):
        (_, epochs, score) = Watched([runs]).look().working[0]
    assert epochs == 0 and score != score


def test_watching_ends_when_nothing_runs(runs, write_run):
    write_run("done")
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    watch([runs], console, every=0.01)
    assert "running 0  done 1  failed 0  stopped 0" in console.file.getvalue()


def test_a_sweep_sees_its_own_runs_and_how_long_it_will_take(runs, write_run):
    write_run("before")
    sweep = Watched([runs], since=time.time(), expected=6)
    assert sweep.look().counts.total() == 0 and sweep.look().waiting == 6 and sweep.look().left is None
    folders = [write_run(name, seed=seed, valid=0.1 * seed) for seed, name in enumerate(("a", "b", "c", "d"))]
    for folder in folders:
        with held(folder):
            pass
    (folders[3] / "result.json").unlink()
    sweep.begun -= 300  # three runs in five minutes, one at work, two waiting
    with held(folders[3]):
        found = sweep.look()
    assert found.counts == {"done": 3, "running": 1} and found.waiting == 2
    assert found.left == pytest.approx(250, rel=0.01)
    assert found.best == "cora plain seed 2: validation 20.00 %"
    console = Console(file=io.StringIO(), width=200)
    console.print(draw(found))
    assert "running 1  done 3  failed 0  stopped 0  waiting 2  about 4 min left" in console.file.getvalue()


def test_what_is_done_is_read_once(runs, write_run, monkeypatch):
    folder = write_run("done")
    watched = Watched([runs])
    watched.look()
    (folder / "result.json").write_text("another")
    assert watched.look().best == "cora plain seed 0: validation 81.00 %"
    damaged = Watched([runs]).look()  # counts as done; the report tells what is wrong
    assert damaged.counts == {"done": 1} and damaged.best == ""
