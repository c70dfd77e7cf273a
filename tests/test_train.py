import os
import random
import signal
import subprocess
import sys
import time

import app
import pytest
import torch

from multipath_gcn.failure import read_failure
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.settings import METRICS


def test_a_run_directory_holds_everything(monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *app.QUICK, "label=mine")
    directory = next(tmp_path.glob("digits/multipath-*/seed0"))
    assert {"config.yaml", "history.csv", "result.json", "checkpoint.pt", "model.pt", "curve.png"} <= {
        path.name for path in directory.iterdir()
    }
    assert directory.parent.name == f"multipath-{result['config']}"
    assert (result["data"], result["label"], result["seed"], result["metric"]) == ("digits", "mine", 0, "acc")
    model = MultiPathGCN(64, 64, 10)
    model.load_state_dict(torch.load(directory / "model.pt", weights_only=True))


def test_same_seed_same_numbers_and_zero_is_a_seed(monkeypatch, tmp_path):
    runs = [
        app.run(monkeypatch, tmp_path / str(i), *app.QUICK, "fit.epochs=5", f"seed={seed}")[0]
        for i, seed in enumerate([0, 0, 1])
    ]
    assert app.numbers(runs[0]) == app.numbers(runs[1])
    assert runs[0]["paper"] != runs[2]["paper"] or runs[0]["valid"] != runs[2]["valid"]
    assert runs[2]["config"] == runs[0]["config"]


def test_a_complete_run_is_not_repeated(monkeypatch, tmp_path):
    app.run(monkeypatch, tmp_path, *app.QUICK)
    path = next(tmp_path.rglob("result.json"))
    before = path.stat().st_mtime_ns
    app.run(monkeypatch, tmp_path, *app.QUICK)
    assert path.stat().st_mtime_ns == before


def test_sweep_returns_the_metric_asked_for(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"metric must be one of \['valid', .*\], got 'accuracy'"):
        app.run(monkeypatch, tmp_path, *app.QUICK, "metric=accuracy")
    assert not app.results(tmp_path)


def test_every_metric_is_a_number_of_a_result(monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *app.QUICK)
    assert all(isinstance(result[name], int | float) for name in METRICS)


def test_what_ended_a_run_is_kept_until_its_next_start(monkeypatch, tmp_path):
    with monkeypatch.context() as broken, pytest.raises(RuntimeError):
        broken.setattr("multipath_gcn.train.fit", _out_of_memory)
        app.run(monkeypatch, tmp_path, *app.QUICK)
    (directory,) = (path.parent for path in tmp_path.rglob("failure.json"))
    assert read_failure(directory) == "not enough memory"
    app.run(monkeypatch, tmp_path, *app.QUICK)
    assert read_failure(directory) is None and len(app.results(tmp_path)) == 1


def _out_of_memory(*_, **__):
    raise RuntimeError("not enough\nmemory")


def test_mixed_precision_and_double(monkeypatch, tmp_path):
    for precision in ("bf16-mixed", "64-true"):
        (result,) = app.run(monkeypatch, tmp_path / precision, *app.QUICK, f"precision={precision}", "fit.epochs=30")
        assert result["valid"] > 0.5
        small = ["model=vgg_mini", "model.stages=[[16,16],[32]]", "model/convolution=separable_sliding", "fit.epochs=6"]
        folder = tmp_path / f"images-{precision}"
        (result,) = app.run(monkeypatch, folder, "task=image", *small, f"precision={precision}")
        assert result["valid"] > 0.5


NODES = ["data=digits", "fit.epochs=40", "task.label_reuse=0.5", "scheduler=plateau"]
IMAGES = ["task=image", "fit.epochs=24", "fit.ema=0.9", "model=vgg_mini", "model.stages=[[8],[16]]", "task.flip=true"]


def command(folder, options):
    always = ["fit.checkpoint_seconds=0", "threads=1", f"runs={folder}"]
    return [sys.executable, "-m", "multipath_gcn", *options, *always]


@pytest.mark.parametrize("options", [NODES, IMAGES], ids=["nodes", "images"])
def test_killed_and_restarted_ends_in_the_same_result(options, monkeypatch, tmp_path):
    generator = random.Random(0)
    killed = command(tmp_path / "killed", options)
    for rows in (3, 17):
        process = subprocess.Popen(killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and process.poll() is None:
            history = next((tmp_path / "killed").rglob("history.csv"), None)
            if history is not None and len(history.read_text().splitlines()) > rows:
                time.sleep(generator.random() * 0.05)
                break
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not app.results(tmp_path / "killed"), "the run ended before it could be killed"
    subprocess.run(killed, check=True, capture_output=True)
    threads = torch.get_num_threads()
    (whole,) = app.run(monkeypatch, tmp_path / "whole", *command(tmp_path, options)[3:-1])
    torch.set_num_threads(threads)
    (killed,) = app.results(tmp_path / "killed")
    assert app.numbers(killed) == app.numbers(whole)
    assert killed["timing"]["restarts"] == 2 and whole["timing"]["restarts"] == 0


def test_threads_of_one_run_do_not_reach_the_next(monkeypatch, tmp_path):
    threads = torch.get_num_threads()
    app.run(monkeypatch, tmp_path, "-m", *app.QUICK, "threads=1,null")
    torch.set_num_threads(threads)
    assert {result["host"]["threads"] for result in app.results(tmp_path)} == {1, threads}
