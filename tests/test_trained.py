import csv
import subprocess
import sys
from pathlib import Path

import app
import pytest
import torch

from multipath_gcn.data import Normalize, load_digit_images
from multipath_gcn.nn import DepthwiseSeparableConv2d
from multipath_gcn.trained import dataset_of, load_trained, task_of

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small = ["model=vgg_mini", "model.stages=[[16,16],[32]]", "model/convolution=separable_sliding", "fit.epochs=8"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        (result,) = app.run(monkeypatch, folder, "task=image", *small)
    return next(folder.glob("digit_images/*/seed0")), result


def test_the_network_of_a_run_scores_as_it_did(run_directory):
    directory, result = run_directory
    model, dataset = load_trained(directory), load_digit_images()
    assert any(isinstance(module, DepthwiseSeparableConv2d) for module in model.modules()) and not model.training
    test = dataset.splits["test"]
    x = Normalize(dataset.mean, dataset.std)(test.batch(torch.arange(len(test))))
    with torch.no_grad():
        score = (model(x).argmax(1) == test.labels).double().mean().item()
    assert score == pytest.approx(result["test"], abs=0.005) and score > 0.5


def test_refuses_what_is_no_finished_run(run_directory, tmp_path):
    with pytest.raises(
        ValueError, match="directory must hold a finished run, .* has no config.yaml, result.json, model.pt"
    ):
        load_trained(tmp_path)
    for name in ("config.yaml", "model.pt"):
        (tmp_path / name).symlink_to(run_directory[0] / name)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ValueError, match="is older: run it again"):
        load_trained(tmp_path)


def test_the_examples_store_it_and_classify_without_torch(run_directory, tmp_path):
    pytest.importorskip("onnxscript")
    directory, result = run_directory

    def example(name, *arguments):
        command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    stored = example("store_network.py", directory, "net")
    assert "wrote net.npz and net.onnx" in stored
    if "differs by" in stored:
        assert float(stored.split()[-1]) < 1e-4
    words = example("classify_numpy.py", "net.npz", "digits").split()
    assert words[0] == "360" and float(words[3]) == pytest.approx(100 * result["test"], abs=0.5)


@pytest.mark.parametrize("task", app.SMALL)
def test_a_task_finds_the_network_that_it_has_made_in_its_own_way(task, monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, f"task={task}", *app.SMALL[task])
    directory = next(tmp_path.rglob("result.json")).parent
    found = task_of(dataset_of(directory), directory).evaluate(load_trained(directory))
    with (directory / "history.csv").open(newline="") as file:
        best = list(csv.DictReader(file))[result["best_epoch"] - 1]
    assert found["test"] == pytest.approx(float(best["test"]), abs=1e-6)


def test_a_network_that_does_not_take_what_the_task_gives_is_refused(monkeypatch, tmp_path):
    rule = "model must take {} of this task, and nothing besides but its own options, got .*{}.*'frame_size'"
    for model, name in (("vgg", "VGG"), ("gcn", "build_matched")):
        with pytest.raises(ValueError, match=rule.format("in_channels, out_channels, frame_size", name)):
            app.run(monkeypatch, tmp_path, "task=sequence", f"model={model}")
    with pytest.raises(ValueError, match=rule.format("in_channels, out_channels", "TemporallyFolded")):
        app.run(monkeypatch, tmp_path, "task=image", "model=temporally_folded")
