"""Whole residual branches, which are no channels: what is left of a block is its shortcut and the activation."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from multipath_gcn.models.resnet import BasicBlock
from multipath_gcn.prune.plan import Plan


def branches(model: nn.Module) -> list[str]:
    """The names of blocks with a branch that can be removed."""
    return [name for name, block in model.named_modules() if isinstance(block, BasicBlock) and block.body is not None]


def plan_branches(model: nn.Module, remove: Iterable[str]) -> Plan:
    """The removal of residual branches, for :func:`verify`, :func:`cut` and :func:`save_pruned`.

    Args:
        model: holds residual blocks, as :class:`~multipath_gcn.models.ResNet` does.
        remove: names of blocks.

    Raises:
        ValueError: for a module that is no residual block, or one that has no branch left.
    """
    plan = Plan({}, {}, branches=sorted(set(remove)))
    check_branches(model, plan)
    return plan


def check_branches(model: nn.Module, plan: Plan) -> None:
    known = branches(model)
    for name in plan.branches:
        if name not in known:
            raise ValueError(f"remove must name residual blocks with a branch, {known}, got {name!r}")


def silence_branches(model: nn.Module, plan: Plan) -> None:
    """What is left when branches give nothing, without cutting."""
    for name in plan.branches:
        model.get_submodule(name).body.register_forward_hook(_zeros)


def _zeros(body: nn.Module, args: tuple, y: Tensor) -> Tensor:
    return torch.zeros_like(y)


def cut_branches(model: nn.Module, plan: Plan) -> None:
    """In place."""
    for name in plan.branches:
        model.get_submodule(name).body = None
