"""``multipath-gcn task=prune`` on finished runs."""

import json
from pathlib import Path

import app
import pytest
import torch
from hydra.errors import InstantiationException

import multipath_gcn.conf
from multipath_gcn.prune.expected_cost import ExpectedCost
from multipath_gcn.report.cli import main as report
from multipath_gcn.trained import dataset_of, load_trained, task_of

METHODS = sorted(path.stem for path in (Path(multipath_gcn.conf.__file__).parent / "prune").glob("*.yaml"))
METHODS.remove("inactive")  # which removes what training has switched off, whatever the budget: below
for name in ("self_grouping", "adaptive"):  # which train: below
    METHODS.remove(name)
IMAGES = ("task=image", "model=vgg_mini", "model.stages=[[8],[16]]", "fit.epochs=2")
NODES = ("data=digits", "fit.epochs=5", "hidden_channels=16")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Directories of a finished run on images and one on nodes."""
    found = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, overrides in (("images", IMAGES), ("nodes", NODES)):
            folder = tmp_path_factory.mktemp(name)
            app.run(monkeypatch, folder, *overrides)
            found[name] = next(folder.rglob("result.json")).parent
    return found


def pruned(monkeypatch, folder, directory, *overrides):
    (result,) = app.run(monkeypatch, folder, "task=prune", f"run={directory}", *overrides)
    return result


@pytest.mark.parametrize("method", METHODS)
def test_every_method_prunes_a_trained_network(method, trained, monkeypatch, tmp_path):
    if method == "torch_pruning":
        pytest.importorskip("torch_pruning")
    before = json.loads((trained["images"] / "result.json").read_text())
    result = pruned(
        monkeypatch, tmp_path, trained["images"], f"prune={method}", "budget.macs=0.6", "task.calibration=64"
    )
    told = result["pruning"]
    assert told["achieved"]["macs"] <= 0.6 and told["largest_difference"] < 1e-5
    assert told["scores"]["before"]["test"] == pytest.approx(before["test"])
    assert set(told["scores"]) == {"before", "straight", "reestimated"}
    assert result["parameters"] == told["after"]["parameters"] < before["parameters"]
    assert (result["data"], result["epochs"]) == ("digit_images", 1)
    assert result["model"] == f"vgg_mini {method}"
    assert all(told[when]["latency"] > 0 for when in ("before", "after"))


def test_what_is_inactive_goes(trained, monkeypatch, tmp_path):
    low = "prune.threshold=0.95"  # after two epochs no scale is near 0
    options = ("prune=inactive", "budget.all=true", low, "task.calibration=64", "task.reestimate=false")
    result = pruned(monkeypatch, tmp_path, trained["images"], *options)
    told = result["pruning"]
    assert told["asked"] == {"all": True} and set(told["achieved"]) == {"parameters", "macs"}
    before = load_trained(trained["images"])
    inactive = [int((norm.weight.abs() < 0.95).sum()) for norm in before.modules() if hasattr(norm, "running_mean")]
    assert sum(told["removed"].values()) == sum(min(n, width - 1) for n, width in zip(inactive, (8, 16), strict=True))
    assert set(told["scores"]) == {"before", "straight"}


SELF_GROUPING = ("prune=self_grouping", "prune.groups=4", "prune.sparsity=0.5", "task.calibration=64")


def test_self_grouping_trains_between_its_levels(trained, monkeypatch, tmp_path):
    result = pruned(monkeypatch, tmp_path, trained["images"], *SELF_GROUPING)
    directory = next(tmp_path.rglob("result.json")).parent
    told = result["pruning"]
    assert told["asked"] == {"sparsity": 0.5, "groups": 4} and told["achieved"]["sparsity"] >= 0.5
    assert told["largest_difference"] < 1e-5 and set(told["scores"]) == {"before", "straight"}
    assert result["parameters"] == told["after"]["parameters"] < told["before"]["parameters"]
    assert result["model"] == "vgg_mini self_grouping" and result["epochs"] == 1
    assert [path.name for path in sorted((directory / "stages").iterdir())] == ["sparsity25", "sparsity50"]
    assert len((directory / "stages" / "sparsity25" / "history.csv").read_text().splitlines()) == 2
    model, task = load_trained(directory), task_of(dataset_of(directory), directory)
    assert task.evaluate(model)["test"] == pytest.approx(result["test"])
    assert report([str(tmp_path)]) == 0
    assert "vgg_mini self_grouping" in (tmp_path / "report" / "report.md").read_text().partition("## Pruning")[2]
    again = pruned(monkeypatch, tmp_path / "again", directory, "prune=magnitude", "budget.macs=0.8")
    assert again["parameters"] < result["parameters"]


def test_self_grouping_cut_off_goes_on_where_it_was(trained, monkeypatch, tmp_path):
    wanted = pruned(monkeypatch, tmp_path / "whole", trained["images"], *SELF_GROUPING)

    def stops(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut_off, pytest.raises(KeyboardInterrupt):
        cut_off.setattr("multipath_gcn.prune.self_grouping_stages.repack", stops)
        pruned(monkeypatch, tmp_path / "cut", trained["images"], *SELF_GROUPING)
    history = next((tmp_path / "cut").rglob("sparsity50/history.csv"))
    before = history.read_bytes()
    found = pruned(monkeypatch, tmp_path / "cut", trained["images"], *SELF_GROUPING)
    assert history.read_bytes() == before  # seconds of epochs included: nothing was trained again
    assert found["test"] == wanted["test"] and found["pruning"]["scores"] == wanted["pruning"]["scores"]


def test_stages_leave_the_precision_of_the_network_as_it_was(trained, monkeypatch, tmp_path):
    result = pruned(monkeypatch, tmp_path, trained["images"], *SELF_GROUPING, "precision=64-true")
    assert result["pruning"]["largest_difference"] < 1e-5 and result["epochs"] == 1


GATES = ("prune=adaptive", "prune.strength=20", "prune.epochs=2", "optimizer.lr=0.1", "task.calibration=64")


def test_gates_that_were_cut_off_close_the_same(trained, monkeypatch, tmp_path):
    options = (*GATES, "fit.checkpoint_seconds=0")
    penalty, steps, limit = ExpectedCost.__call__, [], float("inf")

    def counted(self):
        steps.append(None)
        if len(steps) > limit:
            raise KeyboardInterrupt
        return penalty(self)

    monkeypatch.setattr(ExpectedCost, "__call__", counted)
    wanted = pruned(monkeypatch, tmp_path / "whole", trained["images"], *options)
    whole = len(steps)
    limit = whole + whole // 2  # the first step of the second epoch
    with pytest.raises(KeyboardInterrupt):
        pruned(monkeypatch, tmp_path / "cut", trained["images"], *options)
    limit = float("inf")
    found = pruned(monkeypatch, tmp_path / "cut", trained["images"], *options)
    assert len(steps) == 2 * whole + 1  # the step that was cut off, and no other, twice
    assert found["test"] == wanted["test"] and found["parameters"] == wanted["parameters"]


def test_gates_close_in_mixed_precision(trained, monkeypatch, tmp_path):
    result = pruned(monkeypatch, tmp_path, trained["images"], *GATES, "precision=bf16-mixed")
    assert result["pruning"]["achieved"]["channels"] > 0 and result["pruning"]["largest_difference"] < 1e-5


def test_gates_close_while_the_network_trains(trained, monkeypatch, tmp_path):
    options = GATES
    result = pruned(monkeypatch, tmp_path, trained["images"], *options)
    directory = next(tmp_path.rglob("result.json")).parent
    told = result["pruning"]
    assert told["asked"] == {"strength": 20, "cost": "parameters"} and told["achieved"]["channels"] > 0
    assert told["largest_difference"] < 1e-5
    assert result["parameters"] == told["after"]["parameters"] < told["before"]["parameters"]
    assert len((directory / "stages" / "gates" / "history.csv").read_text().splitlines()) == 3
    assert report([str(tmp_path)]) == 0
    assert "vgg_mini adaptive" in (tmp_path / "report" / "report.md").read_text().partition("## Pruning")[2]
    task = task_of(dataset_of(directory), directory)
    assert task.evaluate(load_trained(directory))["test"] == pytest.approx(result["test"])


def test_feature_transforms_are_grouped(trained, monkeypatch, tmp_path):
    result = pruned(monkeypatch, tmp_path, trained["nodes"], *SELF_GROUPING)
    assert result["pruning"]["achieved"]["sparsity"] >= 0.5


def test_a_run_leaves_a_table_and_a_picture_of_its_layers(trained, monkeypatch, tmp_path):
    pruned(monkeypatch, tmp_path, trained["images"], "prune=magnitude", "budget.macs=0.6")
    directory = next(tmp_path.rglob("result.json")).parent
    layers = json.loads((directory / "pruning.json").read_text())["layers"]
    assert [layer["channels_before"] for layer in layers] == [8, 16, 10]
    assert len((directory / "layers.md").read_text().splitlines()) == len(layers) + 3
    assert (directory / "layers.png").is_file()
    assert report([str(tmp_path)]) == 0
    assert "## Pruning" in (tmp_path / "report" / "report.md").read_text()


def test_what_is_left_is_loaded_and_pruned_again(trained, monkeypatch, tmp_path):
    result = pruned(monkeypatch, tmp_path / "once", trained["images"], "prune=lasso", "budget.macs=0.6")
    directory = next((tmp_path / "once").rglob("result.json")).parent
    model, task = load_trained(directory), task_of(dataset_of(directory), directory)
    assert sum(p.numel() for p in model.parameters()) == result["parameters"]
    assert task.evaluate(model)["test"] == pytest.approx(result["test"])
    again = pruned(monkeypatch, tmp_path / "twice", directory, "prune=magnitude", "budget.parameters=0.5")
    assert again["parameters"] <= 0.5 * result["parameters"]
    twice = load_trained(next((tmp_path / "twice").rglob("result.json")).parent)
    assert sum(p.numel() for p in twice.parameters()) == again["parameters"]


@pytest.mark.parametrize("method", ["similarity", "magnitude"])
def test_a_graph_network_is_pruned(method, trained, monkeypatch, tmp_path):
    result = pruned(monkeypatch, tmp_path, trained["nodes"], f"prune={method}", "budget.parameters=0.7")
    assert result["pruning"]["achieved"]["parameters"] <= 0.7
    assert result["data"] == json.loads((trained["nodes"] / "result.json").read_text())["data"]


def test_a_run_begun_before_goes_on_with_the_same_channels(trained, monkeypatch, tmp_path):
    options = ("prune=random", "budget.macs=0.6")
    first = pruned(monkeypatch, tmp_path, trained["images"], *options)
    directory = next(tmp_path.rglob("result.json")).parent
    (directory / "result.json").unlink()
    (directory / "checkpoint.pt").unlink()

    def fails(*_, **__):
        raise AssertionError("the plan is there already")

    monkeypatch.setattr("multipath_gcn.tasks.prune.compress", fails)
    second = pruned(monkeypatch, tmp_path, trained["images"], *options)
    assert second["pruning"] == first["pruning"] and second["parameters"] == first["parameters"]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["budget.macs=2"], r"budget.macs must lie between 0 and 1, got 2"),
        ([], r"budget must limit one of"),
        (["budget.macs=0.5", "task.calibration=0"], r"calibration must be an integer of at least 1, got 0"),
        (["budget.macs=0.0001"], r"budget must be one that can be met"),
        (["budget.macs=0.5", "prune=similarity", "prune.metric=cosine"], r"metric must be one of"),
        (["budget.macs=0.5", "prune=self_grouping"], r"budget must be empty for SelfGrouping"),
        (["prune=self_grouping", "prune.step=0"], r"step must be above 0, or the schedule would not end, got 0"),
        (["prune=self_grouping", "prune.groups=17"], r"groups must be at most the filters of every layer"),
        (["prune=adaptive", "prune.strength=-1"], r"strength must be a number above 0, got -1"),
        (["prune=adaptive", "prune.gates=[classifier]"], r"gates must name layers and blocks that can be removed"),
    ],
)
def test_bad_input_is_named_and_the_trained_run_is_left_alone(options, rule, trained, monkeypatch, tmp_path):
    files = {path: path.read_bytes() for path in trained["images"].iterdir() if path.is_file()}
    with pytest.raises((ValueError, InstantiationException), match=rule):
        pruned(monkeypatch, tmp_path, trained["images"], *options)
    assert {path: path.read_bytes() for path in trained["images"].iterdir() if path.is_file()} == files
    assert not list(tmp_path.rglob("result.json"))


def test_a_run_must_be_given(monkeypatch, tmp_path):
    with pytest.raises((ValueError, InstantiationException), match="run must be the directory of a finished run"):
        app.run(monkeypatch, tmp_path, "task=prune", "budget.macs=0.5")


def test_a_directory_without_a_run_is_refused(monkeypatch, tmp_path):
    with pytest.raises((ValueError, InstantiationException), match="directory must hold a finished run"):
        pruned(monkeypatch, tmp_path, tmp_path / "nothing", "budget.macs=0.5")


def test_calibration_images_are_always_the_same(trained):
    directory = trained["images"]
    first, second = (task_of(dataset_of(directory), directory).calibration(40, 16) for _ in range(2))
    assert [len(x) for (x,) in first] == [16, 16]
    assert all(torch.equal(a, b) for (a,), (b,) in zip(first, second, strict=True))
