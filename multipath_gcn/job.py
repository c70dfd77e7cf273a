"""The Hydra entry: what is done with one configuration. PyTorch is imported when there is something to train."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from multipath_gcn.errors import sentence
from multipath_gcn.failure import forget_failure, read_failure, record_failure
from multipath_gcn.live import is_shown, leave_the_terminal
from multipath_gcn.lock import held
from multipath_gcn.processes import in_a_job, place
from multipath_gcn.run_directory import claim, config_id, read_result
from multipath_gcn.settings import check

OmegaConf.register_new_resolver("config_id", lambda *, _root_: config_id(_root_), replace=True)
log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="pkg://multipath_gcn.conf", config_name="train")
def main(cfg: DictConfig) -> float:
    hydra_config = HydraConfig.get()
    check(cfg.seed, cfg.threads, cfg.metric)
    directory = Path(hydra_config.runtime.output_dir)
    if is_shown():
        leave_the_terminal()
    rank, count = place()  # of several processes, the first one owns the directory
    if count > 1 and hydra_config.mode is RunMode.MULTIRUN and not in_a_job():
        raise ValueError(f"-m must not be given to {count} processes, which train one run together; see launcher=")
    with held(directory) if rank == 0 else nullcontext():
        if rank == 0:
            claim(directory, cfg)
            forget_failure(directory)
        result = read_result(directory)
        if result is None:
            try:
                result = _train(cfg, directory, hydra_config.runtime.choices)
            except Exception as error:
                try:
                    if read_failure(directory) is None:  # the others of several processes fail of what one met first
                        record_failure(directory, sentence(error))
                except OSError as full:  # the disk; the error itself must be told
                    log.warning("%s: why it failed cannot be written: %s", directory, full)
                raise
        else:
            log.info("complete already: %s", directory)
    return result[cfg.metric]


def _train(cfg: DictConfig, directory: Path, choices: DictConfig) -> dict[str, Any]:
    # Seconds to import, for which a wrong option and the start of a sweep need not wait.
    from multipath_gcn.train import train
    from multipath_gcn.trained import name_of

    model = f"{name_of(cfg.run)} {choices.prune}" if choices.task == "prune" else choices.model
    return train(cfg, directory, {"model": model, "config": config_id(cfg)})
