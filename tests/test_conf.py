"""Every option composes, instantiates and runs."""

from pathlib import Path

import app
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_method, instantiate

import multipath_gcn.conf
import multipath_gcn.train

CONF = Path(multipath_gcn.conf.__file__).parent
PLUGIN = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
    **dict.fromkeys(("optuna", "paths", "windows", "image"), "hydra_plugins.hydra_optuna_sweeper"),
}


def options(group):
    found = sorted(str(path.relative_to(CONF / group).with_suffix("")) for path in (CONF / group).rglob("*.yaml"))
    assert found, f"no options in {group}"
    return found


def composed(*overrides):
    with initialize_config_module("multipath_gcn.conf", version_base="1.3"):
        return compose("train", overrides=list(overrides), return_hydra_config=True)


OF_A_RUN = "of_run"


@pytest.mark.parametrize("option", sorted({*options("data")} - {OF_A_RUN}))
def test_data_composes_without_disk_or_network(option, monkeypatch):
    monkeypatch.setenv("MULTIPATH_GCN_DATA", "/nowhere")
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", "/nowhere/either")
    own = ["data.folder=/nowhere", "data.num_classes=3"] if option == "binary" else []
    cfg = composed(f"data={option}", *own)
    assert callable(get_method(cfg.data._target_))
    assert instantiate(cfg.data, _partial_=True).keywords == {k: v for k, v in cfg.data.items() if k != "_target_"}
    assert not Path("/nowhere").exists()


CONVOLUTIONS = options("model/convolution")
IMAGE_MODELS = ("mobilenet", "resnet", "vgg", "vgg_mini")
SHALLOW = ("s_conv", "s_fc", "s_local")
IMAGES = ("task=image", "fit.epochs=2")
NARROW = "model.width=0.25"
# Networks of one task alone, and the smallest of its runs
OF_A_TASK = {
    "mesh": ("gauge_equivariant", "isotropic_mesh"),
    "sequence": ("conv_lstm", "lstm", "temporally_folded"),
    "zero_shot": ("grouped_attributes",),
}
SMALL = {"image": [*IMAGES, NARROW]} | app.SMALL


@pytest.mark.parametrize(
    "option",
    sorted(
        {o for o in options("model") if "/" not in o}
        - {*IMAGE_MODELS, *SHALLOW, OF_A_RUN, *(model for models in OF_A_TASK.values() for model in models)}
    ),
)
def test_model_runs_a_step(option, monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *app.QUICK, f"model={option}", "hidden_channels=16")
    assert result["model"] == option and result["epochs"] == 2 and result["parameters"] > 0


@pytest.mark.parametrize(("task", "option"), [(task, model) for task, models in OF_A_TASK.items() for model in models])
def test_model_of_a_task_runs_a_step(task, option, monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, f"task={task}", f"model={option}", *SMALL[task])
    assert result["model"] == option and result["epochs"] == 2 and result["parameters"] > 0


@pytest.mark.parametrize("option", [*IMAGE_MODELS, *SHALLOW])
def test_image_model_runs_a_step(option, monkeypatch, tmp_path):
    small = {"resnet": ["model.blocks=[1,1]", NARROW], "mobilenet": [NARROW]}.get(option, ["model.stages=[[8],[8]]"])
    if option in SHALLOW:
        small = ["model.image_size=8", "model.alpha=2"]
    (result,) = app.run(monkeypatch, tmp_path, *IMAGES, f"model={option}", *small)
    assert (result["model"], result["data"], result["epochs"]) == (option, "digit_images", 2)


@pytest.mark.parametrize("model", IMAGE_MODELS)
@pytest.mark.parametrize("option", CONVOLUTIONS)
def test_every_network_takes_every_convolution(model, option):
    cfg = composed("task=image", f"model={model}", f"model/convolution={option}")
    network = instantiate(cfg.model, in_channels=3, out_channels=10, _convert_="all")
    kind = {"standard": "GroupedConv2d", "grouped": "GroupedConv2d"}.get(option, "DepthwiseSeparableConv2d")
    assert [layer for layer in network.modules() if type(layer).__name__ == kind]


def test_the_command_of_the_readme_composes():
    chosen = ["model/convolution=separable_sliding", "model.convolution.groups=4", "model.convolution.overlap=0.5"]
    cfg = composed("task=image", "data=cifar10", "model=mobilenet", *chosen)
    network = instantiate(cfg.model, in_channels=3, out_channels=10, _convert_="all")
    windows = [layer.windows for layer in network.modules() if hasattr(layer, "windows")]
    assert len(windows) == 13 and all(4 * w.width == w.in_channels for w in windows)
    assert cfg.data.name == "cifar10" and "one_cycle" in cfg.scheduler
    other = composed("task=image", "optimizer=adam", "scheduler=none")  # what is asked for is what is done
    assert other.optimizer._target_ == "torch.optim.Adam" and not other.scheduler


@pytest.mark.parametrize("group", ["optimizer", "scheduler", "task"])
def test_training_options_run_a_step(group, monkeypatch, tmp_path):
    chosen = sorted({*options(group)} - {"prune"})  # of a run: tests/tasks/test_prune.py
    for option in chosen:
        app.run(monkeypatch, tmp_path, f"{group}={option}", *SMALL.get(option, app.QUICK))
    assert len(app.results(tmp_path)) == len(chosen)


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


@pytest.mark.parametrize("option", options("measure"))
def test_measures_are_written(option, monkeypatch, tmp_path):
    (result,) = app.run(monkeypatch, tmp_path, *IMAGES, NARROW, f"measure={option}")
    assert list(result.get("measures", {})) == ([] if option == "none" else [option])
    (history,) = tmp_path.rglob("history.csv")
    assert (option in history.read_text().splitlines()[0].split(",")) is (option != "none")


@pytest.mark.parametrize("option", [(group, o) for group in ("launcher", "search") for o in options(group)], ids=str)
def test_launchers_and_searches_compose(option):
    pytest.importorskip(PLUGIN[option[1]])
    cfg = composed("=".join(option))
    node = cfg.hydra.launcher if option[0] == "launcher" else cfg.hydra.sweeper
    assert PLUGIN[option[1]] in node._target_


def test_every_experiment_runs_a_step(monkeypatch, tmp_path):
    names = options("experiment")
    of_images = "design_space/", "implicit_sparsity/", "first_light_images"
    images = [name for name in names if name.startswith(of_images)]
    nodes = [name for name in names if name not in images]
    app.run(monkeypatch, tmp_path, "-m", f"experiment={','.join(nodes)}", "data=digits", "fit.epochs=1")
    # Networks for 32 x 32 end in maps of one pixel here, with batch norms of nearly constant channels: at lr 0.1 the
    # gradient itself may explode (1e18 in float64, from weights of some step).
    small = ["data=digit_images", "fit.epochs=1", "optimizer.lr=0.01"]
    app.run(monkeypatch, tmp_path, "-m", f"experiment={','.join(images)}", *small)
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


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=multipath"], ["dense", None, None]),
        (["model=multipath", "model.transform=sliding"], ["sliding", 2, 0.5]),
        (["model=multipath", "model.transform=grouped", "model.groups=8"], ["grouped", 8, None]),
        (["model=multipath_grouped"], ["grouped", 2, None]),
        (["model=multipath_sliding", "model.groups=4", "model.overlap=0.25"], ["sliding", 4, 0.25]),
        (["model=multipath_sliding", "model.overlap=1/3"], ["sliding", 2, "1/3"]),
        (["experiment=tuned/cora_multipath_sliding", "model.groups=4"], ["sliding", 4, 0.5]),
        (["experiment=tuned/citeseer_multipath_grouped"], ["grouped", 2, None]),
    ],
    ids=str,
)
def test_transforms_of_the_paths_can_be_chosen(overrides, expected):
    cfg = composed(*overrides)
    model = instantiate(cfg.model, in_channels=1433, out_channels=7, _convert_="all")
    layer = next(path[0].conv.lin for path in model.paths if len(path))
    kind = {"Linear": "dense", "GroupedLinear": "grouped", "SlidingChannelLinear": "sliding"}[type(layer).__name__]
    assert [kind, getattr(layer, "groups", None), getattr(layer, "overlap", None)] == expected
    assert all(type(block.conv.lin).__name__ == "Linear" for block in model.stem)


@pytest.mark.parametrize("base", ["tuned/cora_multipath", "tuned/citeseer_multipath", "synthetic_arxiv"])
def test_transform_experiments_differ_in_nothing_else(base):
    dense = composed(f"experiment={base}")
    for kind, label in (("grouped", "groups 2"), ("sliding", "groups 2 overlap 0.5")):
        cfg = composed(f"experiment={base}_{kind}")
        assert cfg.label == label
        for group in ("data", "task", "optimizer", "scheduler", "fit", "hidden_channels"):
            assert cfg[group] == dense[group]
        given = instantiate(dense.model, in_channels=8, out_channels=3, _convert_="all")
        model = instantiate(cfg.model, in_channels=8, out_channels=3, _convert_="all")
        assert str(model).startswith(str(given)[:-1])
        assert [name for name, _ in model.named_parameters()] == [name for name, _ in given.named_parameters()]
        for name in ("dropout", "input_dropout"):
            assert [getattr(m, name, 0) for m in model.modules()] == [getattr(m, name, 0) for m in given.modules()]


def test_a_transform_that_does_not_fit_is_refused(monkeypatch, tmp_path):
    with pytest.raises(Exception, match=r"hidden_channels \(64\) must be divisible by groups \(3\)"):
        app.run(monkeypatch, tmp_path, *app.QUICK, "model=multipath_sliding", "model.groups=3")


def test_joblib_and_optuna_run_a_sweep(monkeypatch, tmp_path):
    pytest.importorskip(PLUGIN["joblib"])
    pytest.importorskip(PLUGIN["optuna"])
    found = app.run(monkeypatch, tmp_path / "joblib", "-m", *app.QUICK, "launcher=joblib", "seed=0,1")
    assert [result["seed"] for result in found] == [0, 1]
    app.run(monkeypatch, tmp_path / "optuna", "-m", *app.QUICK, "search=optuna", "hydra.sweeper.n_trials=2")
    assert len(app.results(tmp_path / "optuna")) == 2
