"""Milliseconds of a call of several models, taken in turns: the speed of a machine changes within minutes."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from multipath_gcn.prune.evaluation import evaluated


def milliseconds(models: Sequence[nn.Module], inputs: tuple[Any, ...], seconds: float = 0.3) -> list[float]:
    """The median time of a call of each, in evaluation mode without gradients, on as many threads as torch uses now.

    Args:
        inputs: what every model takes.
        seconds: how long each is called, after a warm-up: at least ten times, at most a thousand.
    """
    for model in models:
        evaluated(model, inputs)
    times: list[list[float]] = []
    while len(times) < 10 or (sum(map(sum, times)) < seconds * len(models) and len(times) < 1000):
        first = len(times) % len(models)
        order = [*range(first, len(models)), *range(first)]
        found = {i: _seconds(models[i], inputs) for i in order}
        times.append([found[i] for i in range(len(models))])
    return (1e3 * np.median(times, axis=0)).tolist()


def _seconds(model: nn.Module, inputs: tuple[Any, ...]) -> float:
    begin = time.perf_counter()
    evaluated(model, inputs)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin
