import os
import shutil

import pytest

from multipath_gcn.failure import record_failure
from multipath_gcn.report import read_runs


def kinds(problems):
    return [(problem.kind, problem.path.name) for problem in problems]


def test_found_at_any_depth(runs, write_run):
    write_run("x/y/z/deep")
    write_run("shallow", seed=1)
    found, problems = read_runs([runs])
    assert [(run.path.name, run.seed) for run in found] == [("shallow", 1), ("deep", 0)]
    assert not problems
    assert found[0].curve == (0.5, 0.6, 0.7)


def test_seed_zero_is_a_seed(runs, write_run):
    write_run("a", seed=0)
    assert [run.seed for run in read_runs([runs])[0]] == [0]


def test_copies_of_the_config_are_no_runs(runs, write_run):
    folder = write_run("a")
    for copy in (".hydra", "wandb/offline-run/files"):
        (folder / copy).mkdir(parents=True)
        shutil.copy(folder / "config.yaml", folder / copy)
    found, problems = read_runs([runs])
    assert len(found) == 1
    assert not problems


def test_killed_run_is_incomplete_and_says_how_far_it_came(runs, write_run):
    (write_run("a") / "result.json").unlink()
    found, [problem] = read_runs([runs])
    assert not found
    assert (problem.kind, problem.reason) == ("incomplete", "no result.json; history.csv ends at epoch 3")


def test_killed_before_the_first_epoch(runs, write_run):
    folder = write_run("a")
    (folder / "result.json").unlink()
    (folder / "history.csv").unlink()
    _, [problem] = read_runs([runs])
    assert problem.reason == "no result.json"


def test_result_without_config(runs, write_run):
    (write_run("a") / "config.yaml").unlink()
    found, [problem] = read_runs([runs])
    assert not found
    assert (problem.kind, problem.reason) == ("incomplete", "no config.yaml beside result.json")


def test_corrupt_runs_spare_the_others(runs, write_run):
    (write_run("bad-json") / "result.json").write_text("{")
    write_run("bad-value", seed=-1)
    folder = write_run("folder")
    (folder / "result.json").unlink()
    (folder / "result.json").mkdir()
    write_run("good")
    found, problems = read_runs([runs])
    assert [run.path.name for run in found] == ["good"]
    assert kinds(problems) == [("corrupt", "bad-json"), ("corrupt", "bad-value"), ("corrupt", "folder")]


@pytest.mark.parametrize("spoil", ["missing", "broken", "short"])
def test_unreadable_history_costs_only_the_curve(runs, write_run, spoil):
    folder = write_run("a", curve=(0.5,) if spoil == "short" else (0.5, 0.6), best_epoch=2)
    if spoil == "missing":
        (folder / "history.csv").unlink()
    if spoil == "broken":
        (folder / "history.csv").write_text("nonsense")
    [run], [problem] = read_runs([runs])
    assert run.curve is None
    assert run.test == 0.80
    assert problem.kind == "no curve"
    assert "history.csv" in problem.reason


def test_duplicate_counts_once_and_is_listed(runs, write_run):
    write_run("a", test=0.80)
    write_run("b", test=0.80)
    (write_run("c", test=0.70) / "history.csv").unlink()
    write_run("d", seed=1)
    write_run("e", config="other")
    found, problems = read_runs([runs])
    assert [run.path.name for run in found] == ["a", "d", "e"]
    assert kinds(problems) == [("duplicate", "b"), ("duplicate", "c")]
    assert "the same test score" in problems[0].reason
    assert "another (0.7000, not 0.8000) test score" in problems[1].reason
    assert str(runs / "a") in problems[0].reason


def test_overlapping_folders_and_links_are_no_duplicates(runs, write_run):
    folder = write_run("a/b")
    os.symlink(runs, folder / "loop")
    os.symlink(folder, runs / "again")
    found, problems = read_runs([runs, runs / "a", runs])
    assert len(found) == 1
    assert not problems


def test_linked_run_is_found(runs, write_run, tmp_path):
    shutil.move(write_run("a"), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", runs / "link")
    assert len(read_runs([runs])[0]) == 1


def test_folder_without_any_run_is_listed(runs, write_run, tmp_path):
    write_run("a")
    (tmp_path / "empty").mkdir()
    found, problems = read_runs([runs, tmp_path / "empty"])
    assert len(found) == 1
    assert kinds(problems) == [("incomplete", "empty")]


def test_synthetic_is_part_of_the_data_name(runs, write_run):
    write_run("a", data="arxiv", synthetic=True)
    write_run("b", data="synthetic_arxiv", synthetic=True)
    write_run("c", data="arxiv")
    assert [run.data for run in read_runs([runs])[0]] == ["arxiv (synthetic)", "synthetic_arxiv", "arxiv"]


def test_failed_run_says_what_ended_it(runs, write_run):
    folder = write_run("a")
    (folder / "result.json").unlink()
    record_failure(folder, "loss must be finite,\ngot nan")
    found, [problem] = read_runs([runs])
    assert not found
    assert (problem.kind, problem.reason) == ("failed", "loss must be finite, got nan; history.csv ends at epoch 3")
    (folder / "failure.json").write_text("[")
    assert "failure.json cannot be read" in read_runs([runs])[1][0].reason


def test_a_row_of_different_versions_is_told(runs, write_run):
    for seed, version in enumerate(("0.9.0, torch 2.13.0", "0.9.0, torch 2.13.0", "1.0.0, torch 2.13.0")):
        write_run(f"a{seed}", seed=seed, version=version)
    write_run("other", model="gcn", version="1.0.0, torch 2.13.0")
    found, (problem,) = read_runs([runs])
    assert len(found) == 4 and problem.kind == "versions"
    assert problem.reason == (
        "a row mixes version 0.9.0, torch 2.13.0 (seed 0, 1); version 1.0.0, torch 2.13.0 (seed 2)"
    )
