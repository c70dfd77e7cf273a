import io

from rich.console import Console

from multipath_gcn.failure import record_failure
from multipath_gcn.lock import held
from multipath_gcn.report.watch import status, watch


def test_every_state_is_told(runs, write_run):
    write_run("done", valid=0.9)
    for name in ("running", "failed", "stopped"):
        (write_run(name, seed=1) / "result.json").unlink()
    record_failure(runs / "failed", "loss must be finite, got nan")
    with held(runs / "running"):
        found = status([runs])
        assert found.counts == {"done": 1, "running": 1, "failed": 1, "stopped": 1}
        assert found.working == [(runs / "running", 3, 0.7)]
    assert found.failed == [(runs / "failed", "loss must be finite, got nan")]
    assert found.best == "cora plain seed 0: validation 90.00 %"
    assert status([runs]).counts["running"] == 0


def test_a_run_of_which_nothing_is_written_yet_is_running(runs, write_run):
    folder = write_run("new")
    for name in ("result.json", "history.csv"):
        (folder / name).unlink()
    with held(folder):
        (_, epochs, score) = status([runs]).working[0]
    assert epochs == 0 and score != score


def test_watching_ends_when_nothing_runs(runs, write_run):
    write_run("done")
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    watch([runs], console, every=0.01)
    assert "running 0  done 1  failed 0  stopped 0" in console.file.getvalue()
