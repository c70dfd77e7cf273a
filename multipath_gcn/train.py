"""One run from its configuration to its ``result.json``: seed, instantiate, fit, evaluate."""

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from multipath_gcn import __version__
from multipath_gcn.fabric import make_fabric
from multipath_gcn.files import write_atomically
from multipath_gcn.fit import Progress, fit
from multipath_gcn.live import is_shown
from multipath_gcn.machine import describe
from multipath_gcn.models import count_parameters
from multipath_gcn.network import make_network
from multipath_gcn.progress import training_progress
from multipath_gcn.prune import Train
from multipath_gcn.report import layer_table, plot_channels, plot_run
from multipath_gcn.tasks import Penalised, PruneTask

log = logging.getLogger(__name__)
_THREADS = torch.get_num_threads()  # what `threads: null` means, whatever an earlier run of this process has set


def train(cfg: DictConfig, directory: Path, identity: dict[str, str]) -> dict[str, Any]:
    """One run from its configuration to its ``result.json``.

    Args:
        cfg: the whole configuration.
        directory: the run directory.
        identity: what names the run in reports, put into the result as it is.
    """
    start = time.perf_counter()
    torch.set_num_threads(_THREADS if cfg.threads is None else cfg.threads)
    fabric = make_fabric(cfg.device, cfg.precision, list(instantiate(cfg.logger).values()))
    with fabric.rank_zero_first():  # which writes into the cache what the others then read
        dataset = instantiate(cfg.data)
    seed_everything(cfg.seed, verbose=False)
    with fabric.rank_zero_first():
        task = instantiate(cfg.task)(dataset, device=fabric.device)
    widths = {"in_channels": task.in_channels, "out_channels": task.out_channels}
    further_sizes = getattr(task, "further_sizes", {})
    model = make_network(cfg.model, widths | further_sizes).to(fabric.device)
    task.check(model)
    if fabric.world_size > 1 and not getattr(task, "shares_steps", False):
        raise ValueError(f"task must be clusters for {fabric.world_size} processes, got {type(task).__name__}")
    if hasattr(task, "prepare"):
        model = task.prepare(model)
    if isinstance(task, PruneTask):
        model = task.prune(model, directory, stages(cfg, directory, task))
        seed_everything(cfg.seed, verbose=False)  # whether the stages were trained now or before
    parameters = count_parameters(model)
    model, optimizer, schedulers = _set_up(cfg, fabric, task, model)
    setup_seconds = time.perf_counter() - start

    title = f"{dataset.name} {identity['model']} seed {cfg.seed}"
    shown = fabric.is_global_zero and not is_shown()
    with training_progress(title, cfg.fit.epochs, task.steps, shown=shown) as (on_epoch, on_step):
        progress = fit(
            task,
            model,
            optimizer,
            fabric=fabric,
            directory=directory,
            schedulers=schedulers,
            measures=instantiate(cfg.measure),
            on_epoch=on_epoch,
            on_step=on_step,
            setup_seconds=setup_seconds,
            **cfg.fit,
        )
    for logger in fabric.loggers:
        logger.finalize("success")

    result = (
        identity
        | {
            "data": dataset.name,
            "label": cfg.label,
            "version": f"{__version__}, torch {torch.__version__}",
            "seed": cfg.seed,
            "metric": dataset.metric,
            "synthetic": dataset.synthetic,
            "parameters": parameters,
        }
        | widths
        | ({"further_sizes": further_sizes} if further_sizes else {})
        | _scores(progress)
    )
    if hasattr(task, "finish") and fabric.is_global_zero:
        model.load_state_dict(progress.best_weights)
        result |= task.finish(model, progress.history, directory)
    if cfg.measure:
        result["measures"] = {name: progress.best[name] for name in cfg.measure}
    seconds = [row["seconds"] for row in progress.history]
    result |= {
        "timing": {
            "seconds": sum(seconds),
            "seconds_per_epoch": median(seconds),
            "setup_seconds": progress.setup_seconds,
            "restarts": progress.restarts,
        },
        "memory": {"peak_mib": progress.peak_mib},
        "host": describe(fabric.device) | {"processes": fabric.world_size},
    }
    if not fabric.is_global_zero:
        return result
    if isinstance(task, PruneTask):
        layers = task.facts["layers"]
        result["pruning"] = {name: value for name, value in task.facts.items() if name != "layers"}
        write_atomically(directory / "layers.md", lambda file: file.write(layer_table(layers).encode()))
        plot_channels(layers, directory / "layers.png")
    plot_run(directory)
    write_atomically(directory / "model.pt", lambda file: torch.save(progress.best_weights, file))
    write_atomically(directory / "result.json", lambda file: file.write(json.dumps(result, indent=1).encode()))
    log.info(
        "%s: test %.2f %% at best validation %.2f %% (epoch %d)  %s",
        title,
        100 * result["test"],
        100 * result["valid"],
        result["best_epoch"],
        directory,
    )
    return result


def _set_up(
    cfg: DictConfig, fabric: Fabric, task: Any, model: nn.Module
) -> tuple[nn.Module, Optimizer, list[LRScheduler]]:
    optimizer = instantiate(cfg.optimizer)(model.parameters())
    schedulers = [_scheduler(build, optimizer, task.steps) for build in instantiate(cfg.scheduler).values()]
    return *fabric.setup(model, optimizer), schedulers


def stages(cfg: DictConfig, directory: Path, task: Any) -> Train:
    """Training for methods that compress by it: each stage has a directory of its own below the run's, from where it
    goes on if it was cut off, and the run's configuration but for its epochs."""

    def train(
        model: nn.Module,
        stage: str,
        epochs: int,
        penalty: Callable[[], Tensor] | None = None,
        keep: str = "best",
    ) -> None:
        if keep not in ("best", "last"):
            raise ValueError(f"keep must be 'best' or 'last', got {keep!r}")
        to_the_end = {} if keep == "best" else {"patience": None, "ema": None}
        part = OmegaConf.merge(cfg, {"fit": {"epochs": epochs, **to_the_end}})
        dtype = next(model.parameters()).dtype
        folder = directory / "stages" / stage
        folder.mkdir(parents=True, exist_ok=True)
        fabric = Fabric(accelerator=cfg.device, devices=1, precision=cfg.precision)
        penalised = task if penalty is None else Penalised(task, penalty)
        with training_progress(stage, epochs, task.steps) as (on_epoch, on_step):
            set_up, optimizer, schedulers = _set_up(part, fabric, task, model)
            reports = {"on_epoch": on_epoch, "on_step": on_step}
            progress = fit(
                penalised, set_up, optimizer, fabric=fabric, directory=folder, schedulers=schedulers, **reports,
                **part.fit,
            )  # fmt: skip
        if keep == "best":
            model.load_state_dict(progress.best_weights)
        model.to(dtype)  # a precision such as 64-true has changed it

    return train


def _scheduler(build: partial[LRScheduler], optimizer: Optimizer, steps: int) -> LRScheduler:
    return build(optimizer, steps_per_epoch=steps) if build.func is OneCycleLR else build(optimizer)


def _scores(progress: Progress) -> dict[str, Any]:
    """OGB's protocol, and beside it the papers' own: the best test score of any epoch."""
    best, luckiest = progress.best, max(progress.history, key=lambda row: row["test"])
    return {
        **{name: best[name] for name in ("train", "valid", "test")},
        "best_epoch": best["epoch"],
        "epochs": progress.epoch,
        "paper": {"test": luckiest["test"], "epoch": luckiest["epoch"]},
    }
