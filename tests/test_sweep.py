"""What a sweep must not contain, and what is told of runs that fail in one."""

import sys

import app
import pytest

from multipath_gcn import cli
from multipath_gcn.failure import read_failure
from multipath_gcn.lock import held
from multipath_gcn.sweep import check_choices, expected


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("seed=0,1,0,2,2", "seed must have every value once, got 0, 2 twice in seed=0,1,0,2,2"),
        ("model=gcn,gcn", "model must have every value once, got gcn twice"),
        ("seed=range(5,5)", r"seed must have at least one value, got none from seed=range\(5,5\)"),
    ],
)
def test_a_list_of_values_that_says_too_little_or_too_much(override, rule):
    with pytest.raises(ValueError, match=rule):
        check_choices(["data=digits", override])


def test_lists_ranges_and_single_values_pass():
    check_choices(["data=digits", "seed=range(0,10)", "model=gcn,gcn2", "model.paths=[[8,8]],[[8],[8]]", "~logger"])


LAUNCHERS = {  # the module that each needs
    (): "hydra",
    ("launcher=joblib",): "hydra_plugins.hydra_joblib_launcher",
    ("launcher=submitit_local",): "hydra_plugins.hydra_submitit_launcher",
    ("launcher=ray",): "hydra_plugins.hydra_ray_launcher",  # `make test-ray`: in an environment of its own
}


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: "".join(launcher) or "in-process")
def test_a_run_that_fails_takes_no_other_with_it_and_is_listed(monkeypatch, capfd, tmp_path, launcher):
    pytest.importorskip(LAUNCHERS[launcher])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    sweep = ["-m", "seed=0,1", "model.paths=[[3],[4]],[[8,8]]", *app.QUICK, *launcher, f"runs={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["multipath-gcn", *sweep])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    error = capfd.readouterr().err
    assert stop.value.code == 1 and len(app.results(tmp_path)) == 2
    assert "2 runs of the sweep have failed, the others are kept:" in error
    assert error.count(": paths must end in equal widths") >= 2 and "seed0: " in error and "seed1: " in error


def test_nothing_starts_where_a_choice_is_wrong(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["multipath-gcn", "-m", "seed=3,3", *app.QUICK, f"runs={tmp_path / 'runs'}"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "seed must have every value once, got 3 twice" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("experiment", "overrides", "count"),
    [
        ("paper_table", ["seed=0,1", "data=digits,synthetic"], 2 * 2 * 3),
        ("windows/sliding", ["seed=0", "data=digits", "model.groups=2,4"], 2 * 3),
    ],
)
def test_a_table_is_one_command(monkeypatch, tmp_path, experiment, overrides, count):
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(tmp_path / "cache"))
    results = app.run(monkeypatch, tmp_path / "runs", f"experiment={experiment}", "fit.epochs=1", *overrides)
    assert len(results) == count


def test_two_sweeps_in_one_folder_do_every_run_once(monkeypatch, tmp_path):
    folder = app.run(monkeypatch, tmp_path, *app.QUICK) and next(tmp_path.rglob("result.json")).parent
    (folder / "result.json").unlink()
    with held(folder), pytest.raises(ValueError, match="hydra.run.dir must not be in use"):
        app.run(monkeypatch, tmp_path, *app.QUICK)
    assert read_failure(folder) is None  # it is not ours to write there
    assert len(app.run(monkeypatch, tmp_path, *app.QUICK)) == 1


def test_lists_given_to_the_sweeper_are_checked_too():
    with pytest.raises(ValueError, match="seed must have every value once, got 1 twice"):
        check_choices(["hydra.sweeper.params.seed='1,1'"])


@pytest.mark.parametrize(
    ("params", "overrides", "count"),
    [
        ({}, ["seed=range(0,10)", "model=gcn,gcn2", "data=cora"], 20),
        ({"data": "cora,citeseer", "seed": "range(0,10)"}, ["seed=1,2"], 4),
        ({}, ["model.paths=[[8,8]],[[8],[8]]"], 2),
    ],
)
def test_how_many_runs_there_will_be(params, overrides, count):
    assert expected(params, overrides) == count


def test_an_option_that_slurm_has_not_is_named_with_those_it_has(monkeypatch, capsys, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    sweep = ["-m", "seed=0,1", *app.QUICK, "launcher=submitit_slurm", "hydra.launcher.partitoin=gpu"]
    monkeypatch.setattr(sys, "argv", ["multipath-gcn", *sweep, f"runs={tmp_path / 'runs'}"])
    with pytest.raises(SystemExit):
        cli.main()
    error = capsys.readouterr().err
    assert "hydra.launcher.partitoin" in error and "partition" in error.replace("partitoin", "")
    assert not (tmp_path / "runs").exists()


def test_a_job_of_two_tasks_trains_one_network(monkeypatch, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    job = ["launcher=submitit_local", "hydra.launcher.tasks_per_node=2", "hydra.launcher.timeout_min=3", "threads=1"]
    parts = ["task=clusters", "task.method=contiguous", "task.parts=4", "task.subgraphs=2"]
    (result,) = app.run(monkeypatch, tmp_path / "runs", "-m", *app.QUICK, *parts, *job)
    assert result["host"]["processes"] == 2
