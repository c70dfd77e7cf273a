"""What may happen to a run from outside: killed processes, full disks, damaged files. Nothing finished is lost, what is
incomplete is named, and the same command ends in the numbers of an undisturbed run."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import app
import pytest
import torch

from multipath_gcn.checkpoint import CorruptCheckpoint
from multipath_gcn.failure import read_failure
from multipath_gcn.lock import is_held
from multipath_gcn.report.runs import read_runs

PYTHON = [sys.executable, "-m", "multipath_gcn"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "multipath_gcn"]
CLUSTERS = ["task=clusters", "task.method=contiguous", "task.parts=4", "task.subgraphs=2"]
OPTIONS = ["data=digits", "hidden_channels=8", "threads=1", "fit.checkpoint_seconds=0"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"} | {
    "OMP_NUM_THREADS": "1"
}


def start(command, folder, *overrides, **options):
    """In a process of its own."""
    outputs = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([*command, *overrides, *OPTIONS, f"runs={folder}"], env=ENVIRONMENT, **outputs, **options)


@pytest.fixture
def finish(monkeypatch):
    """In this process, to the end; returns the results below the folder."""
    threads = torch.get_num_threads()
    yield lambda folder, *overrides: app.run(monkeypatch, folder, *overrides[:1], *OPTIONS, *overrides[1:])
    torch.set_num_threads(threads)


def wait_for(condition, what):
    deadline = time.monotonic() + 100
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} in 100 seconds"
        time.sleep(0.02)
    return found


def epochs(folder):
    history = next(folder.rglob("history.csv"), None)
    return 0 if history is None else len(history.read_text().splitlines()) - 1


def ranks_below(pid):
    """From RANK to the process that has it, among the children of a process."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_text().split("\0")
        found |= {v.partition("=")[2]: int(child) for v in variables if v.startswith("RANK=")}
    return found


def test_one_process_of_two_is_killed(tmp_path, finish):
    overrides = ["fit.epochs=60", *CLUSTERS]
    torchrun = start(TORCHRUN, tmp_path / "killed", *overrides)
    wait_for(lambda: epochs(tmp_path / "killed") >= 3, "third epoch")
    ranks = ranks_below(torchrun.pid)
    os.kill(ranks["1"], signal.SIGKILL)
    torchrun.communicate(timeout=100)
    assert torchrun.returncode != 0 and not app.results(tmp_path / "killed")
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values())  # the other one has not stayed behind
    _, (problem,) = read_runs([tmp_path / "killed"])
    assert problem.kind in ("failed", "incomplete") and "history.csv ends at epoch" in problem.reason
    (killed,), (whole,) = (finish(tmp_path / name, *overrides) for name in ("killed", "whole"))
    assert killed["timing"]["restarts"] == 1
    assert killed["test"] == pytest.approx(whole["test"], abs=0.02)  # sums in another order


def test_the_launcher_is_killed(tmp_path, finish):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    overrides = ["-m", "seed=range(0,6)", "fit.epochs=100"]
    sweep = start(PYTHON, tmp_path, *overrides, "launcher=joblib", "hydra.launcher.n_jobs=2")
    wait_for(lambda: app.results(tmp_path), "finished run")
    sweep.kill()
    sweep.wait()
    wait_for(lambda: not any(is_held(path.parent) for path in tmp_path.rglob(".lock")), "end of the runs at work")
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert 1 <= len(done) < 6
    assert len(finish(tmp_path, *overrides)) == 6
    assert all(path.stat().st_mtime_ns == before for path, before in done.items())


def small_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))


def test_no_space_for_a_checkpoint(tmp_path, finish):
    before = finish(tmp_path, "fit.epochs=3")
    again = ["fit.epochs=3", "seed=1", "model.paths=[[64,64],[64]]", "model.stem=0"]
    limited = start(PYTHON, tmp_path, *again, preexec_fn=small_files)
    told = limited.communicate(timeout=100)[1]
    (folder,) = tmp_path.glob("*/*/seed1")
    assert limited.returncode == 1 and f"File too large: '{folder}/checkpoint.pt'" in told
    assert "File too large" in read_failure(folder) and not list(folder.glob(".*.partial"))
    assert app.results(tmp_path) == before
    assert len(finish(tmp_path, *again)) == 2


def test_a_disk_without_any_space(tmp_path, finish):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    options = ["fit.epochs=3", "model.paths=[[128,128],[128]]", "model.stem=0"]
    try:
        with pytest.raises(OSError, match="No space left on device"):
            finish(disk, *options)
        runs, problems = read_runs([disk])
        assert not runs and problems and not list(disk.rglob(".*.partial"))
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        assert len(finish(disk, *options)) == 1
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("name", ["checkpoint.pt", "history.csv"])
def test_a_file_of_a_killed_run_is_damaged(tmp_path, finish, name):
    run = start(PYTHON, tmp_path / "damaged", "fit.epochs=100")
    wait_for(lambda: epochs(tmp_path / "damaged") >= 3, "third epoch")
    run.kill()
    run.wait()
    (path,) = (tmp_path / "damaged").rglob(name)
    content = path.read_bytes()
    if name == "checkpoint.pt":
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(CorruptCheckpoint, match=r"cannot be read .* it is kept as checkpoint\.pt\.corrupt"):
            finish(tmp_path / "damaged", "fit.epochs=100")
    else:
        path.write_bytes(content[:-30])  # within its last line
        (problem,) = read_runs([tmp_path / "damaged"])[1]
        assert problem.kind == "incomplete" and "history.csv ends at epoch" not in problem.reason
    (damaged,), (whole,) = (finish(tmp_path / folder, "fit.epochs=100") for folder in ("damaged", "whole"))
    assert app.numbers(damaged) == app.numbers(whole)
    assert not read_runs([tmp_path / "damaged"])[1]


def test_a_run_of_two_processes_tells_the_cause_of_its_end(tmp_path):
    torchrun = start(TORCHRUN, tmp_path, "fit.epochs=3", "optimizer.lr=1e30", *CLUSTERS)
    torchrun.communicate(timeout=100)
    assert torchrun.returncode != 0
    (problem,) = read_runs([tmp_path])[1]
    assert problem.kind == "failed" and "loss must be finite" in problem.reason


def test_a_sweep_is_not_for_processes_that_train_together(tmp_path):
    torchrun = start(TORCHRUN, tmp_path, "-m", "seed=0,1", "fit.epochs=3", *CLUSTERS)
    assert "-m must not be given to 2 processes" in torchrun.communicate(timeout=100)[1]
    assert torchrun.returncode != 0 and not app.results(tmp_path)
