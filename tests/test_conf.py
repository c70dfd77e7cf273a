"""Every option composes, instantiates and runs."""

from pathlib import Path

import app
import multipath_gcn.conf
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_method, instantiate

import multipath_gcn.train

CONF = Path(multipath_gcn.conf.__file__).parent
PLUGIN = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "optuna": "hydra_plugins.hydra_optuna_sweeper",
}


def options(group):
    found = sorted(str(path.relative_to(CONF / group).with_suffix("")) for path in (CONF / group).rglob("*.yaml"))
    assert found, f"no options in {group}"
    return found


def composed(*overrides):
    with initialize_config_module("multipath_gcn.conf", version_base="1.3"):
        return compose("train", overrides=list(overrides), return_hydra_config=True)


@pytest.mark.parametrize("option", options("data"))
def test_data_composes_without_disk_or_network(option, monkeypatch):
    monkeypatch.setenv("MULTIPATH_GCN_DATA", "/nowhere")
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", "/nowhere/either")
    cfg = composed(f"data={option}")
    assert callable(get_method(cfg.data._target_))
    assert instantiate(cfg.data, _partial_=True).keywords == {k: v for k, v in cfg.data.items() if k != "_target_"}
    assert not Path("/nowhere").exists()


@pytest.mark.parametrize("option", options("model"))
def test_model_runs_a_step(option, monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *app.QUICK, f"model={option}", "hidden_channels=16")
    assert result["model"] == option and result["epochs"] == 2 and result["parameters"] > 0


@pytest.mark.parametrize("group", ["optimizer", "scheduler", "task"])
def test_training_options_run_a_step(group, monkeypatch, tmp_path):
    for option in options(group):
        app.run(monkeypatch, tmp_path, *app.QUICK, f"{group}={option}")
    assert len(app.results(tmp_path)) == len(options(group))


@pytest.mark.parametrize("option", options("logger"))
def test_logger_runs_a_step(option, monkeypatch, tmp_path):
    needs = {"tensorboard": ["tensorboard"], "wandb": ["wandb", "pytorch_lightning"]}.get(option, [])
    for name in needs:
        pytest.importorskip(name)
    offline = ["logger.wandb.offline=true"] if option == "wandb" else []
    app.run(monkeypatch, tmp_path, *app.QUICK, f"logger={option}", *offline)
    cfg = composed(f"logger={option}", f"hydra.run.dir={tmp_path}", *offline)
    expected = {"none": None, "csv": "metrics.csv", "tensorboard": "events.out.tfevents*", "wandb": "*.wandb"}[option]
    assert len(cfg.logger) == (expected is not None)
    assert expected is None or list(tmp_path.rglob(expected))


@pytest.mark.parametrize("option", [(group, o) for group in ("launcher", "search") for o in options(group)], ids=str)
def test_launchers_and_searches_compose(option):
    pytest.importorskip(PLUGIN[option[1]])
    cfg = composed("=".join(option))
    node = cfg.hydra.launcher if option[0] == "launcher" else cfg.hydra.sweeper
    assert PLUGIN[option[1]] in node._target_


def test_every_experiment_runs_a_step(monkeypatch, tmp_path):
    names = options("experiment")
    app.run(monkeypatch, tmp_path, "-m", f"experiment={','.join(names)}", "data=digits", "fit.epochs=1")
    logs = sorted(tmp_path.rglob("train.log"))
    assert len(logs) <= len(names)  # on digits some are the same run
    assert len(app.results(tmp_path)) == len(logs)


@pytest.mark.parametrize(
    ("experiment", "parameters", "inputs", "outputs"),
    [
        ("paper_cora", 217_479, 1433, 7),
        ("paper_citeseer", 1_081_350, 3703, 6),
        ("ogbn_arxiv", 316_840, 168, 40),
        ("ogbn_proteins", 425_840, 8, 112),
    ],
)
def test_configs_reproduce_the_released_networks(experiment, parameters, inputs, outputs):
    cfg = composed(f"experiment={experiment}")
    model = instantiate(cfg.model, in_channels=inputs, out_channels=outputs, _convert_="all")
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_joblib_and_optuna_run_a_sweep(monkeypatch, tmp_path):
    pytest.importorskip(PLUGIN["joblib"])
    pytest.importorskip(PLUGIN["optuna"])
    found = app.run(monkeypatch, tmp_path / "joblib", "-m", *app.QUICK, "launcher=joblib", "seed=0,1")
    assert [result["seed"] for result in found] == [0, 1]
    app.run(monkeypatch, tmp_path / "optuna", "-m", *app.QUICK, "search=optuna", "hydra.sweeper.n_trials=2")
    assert len(app.results(tmp_path / "optuna")) == 2
