"""A call in evaluation mode, without gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for every module, and afterwards the mode that each was in."""
    before = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in before.items():
            module.training = training


def evaluated(model: nn.Module, inputs: tuple) -> Any:
    with evaluating(model), torch.no_grad():
        return model(*inputs)
