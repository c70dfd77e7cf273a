"""The types of the values that every run has: Hydra refuses a value of another type by name."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class FitSettings:
    epochs: int = MISSING
    patience: int | None = None
    ema: float | None = None
    checkpoint_seconds: float = MISSING


@dataclass
class Settings:
    data: Any = MISSING
    model: Any = MISSING
    task: Any = MISSING
    prune: Any = None
    budget: Any = None
    run: str | None = None
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    logger: Any = MISSING
    measure: Any = MISSING
    seed: int = MISSING
    hidden_channels: int = MISSING
    label: str = MISSING
    runs: str = MISSING
    metric: str = MISSING
    device: str = MISSING
    precision: str = MISSING
    threads: int | None = None
    fit: FitSettings = field(default_factory=FitSettings)


METRICS = ("valid", "test", "train", "parameters", "epochs", "best_epoch")  # of result.json, for sweepers


def check(seed: int, threads: int | None, metric: str) -> None:
    """What a type cannot say.

    Raises:
        ValueError: for a seed outside [0, 2**32), threads below 1, or a metric that a result has not.
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {list(METRICS)}, got {metric!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in [0, 2**32), got {seed}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be null or at least 1, got {threads}")


ConfigStore.instance().store(name="settings", node=Settings)
