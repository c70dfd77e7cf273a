"""Running statistics of batch norms, counted again."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def reestimate_norms(model: nn.Module, batches: Iterable[tuple[Any, ...]]) -> None:
    """Replaces the running mean and variance of every batch norm by their average over ``batches``, in place.

    Everything but the norms is in evaluation mode meanwhile; modes are restored. A model without batch norms is left
    alone.

    Args:
        batches: what ``forward`` takes, one tuple after another.

    Raises:
        ValueError: for no batches.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    modes = {module: module.training for module in model.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    before = {
        norm: (norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone()) for norm in norms
    }
    seen = 0
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the average over all batches
            norm.train()
        for batch in batches:
            model(*batch)
            seen += 1
        if not seen:
            raise ValueError("batches must hold at least one batch to count statistics on, got none")
    except BaseException:
        for norm, (mean, var, count) in before.items():
            norm.running_mean.copy_(mean), norm.running_var.copy_(var), norm.num_batches_tracked.copy_(count)
        raise
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training
