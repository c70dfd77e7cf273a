"""Channels that are constant: what they add to the layers that read them goes into these layers."""

import numpy as np
import torch
from torch import nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.readers import readers
from multipath_gcn.prune.shift import shift_output
from multipath_gcn.prune.signals import signals

CONSTANT = 1e-10


@torch.no_grad()
def fold_constants(model: nn.Module, channels: Channels, plan: Plan, constant: float = CONSTANT) -> int:
    r"""Adds :math:`\sum_p W_{:, j, p} \, c_j` to the outputs of what reads a channel j that the plan removes and whose
    value is the constant :math:`c_j`, such as :math:`\max(\beta_j, 0)` after a batch norm of scale 0. In place.

    Where a convolution pads with zeros, the border of its output changes.

    Args:
        model: whose weights say which channels are constant.
        channels: of the model.
        plan: what is about to be removed.
        constant: a channel counts as one whose variance is at most this part of its squared mean.

    Returns:
        How many constants other than 0 were folded.
    """
    known, folded = signals(model, channels, in_one_state=True), 0
    for group in channels.groups:
        moments, gone = known[group.name], plan.removed.get(group.name, [])
        if moments is None or not gone:
            continue
        mean, variance = moments[0][gone], np.diag(moments[1])[gone]
        values = np.where(variance <= constant * mean**2, mean, 0.0)
        folded += int((values != 0).sum())
        if values.any():
            for reader in readers(model, channels, group):
                added = sum(reader.sum_of(unit) * value for unit, value in zip(gone, values, strict=True) if value)
                shift_output(model, channels, reader.name, added)
    return folded
