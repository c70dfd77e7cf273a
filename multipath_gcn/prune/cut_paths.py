"""Whole paths of a :class:`~multipath_gcn.nn.MultiPathGCN`, which are no channels: all of a path's layers go."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from multipath_gcn.nn import GCNConv, MultiPathGCN
from multipath_gcn.nn.together import Together
from multipath_gcn.prune.plan import Plan


def plan_paths(model: nn.Module, remove: Mapping[str, Sequence[int]]) -> Plan:
    """The removal of paths, by their numbers, for :func:`verify`, :func:`cut` and :func:`save_pruned`.

    What is left computes what the whole does when these paths give zeros: with ``combine="sum"``, ``"concat"``,
    ``"mean"``, whose divisor goes into the readout, and ``"max"`` of values that are not negative. ``"attention"`` is
    refused by :func:`verify`, for its softmax sees how many paths there are.

    Args:
        model: is, or holds, a :class:`~multipath_gcn.nn.MultiPathGCN`.
        remove: by the name of that module (``""`` for the model itself) the numbers of paths.

    Raises:
        ValueError: for another module, a path that does not exist or is the identity, or all paths.
    """
    plan = Plan({}, {}, paths={name: sorted({int(number) for number in numbers}) for name, numbers in remove.items()})
    check_paths(model, plan)
    return plan


def check_paths(model: nn.Module, plan: Plan) -> None:
    modules = dict(model.named_modules())
    for name, gone in plan.paths.items():
        module = modules.get(name)
        if not isinstance(module, MultiPathGCN):
            raise ValueError(f"remove must name a MultiPathGCN, got {name!r}, a {type(module).__name__}")
        for path in gone:
            if not 0 <= path < len(module.paths) or not len(module.paths[path]):
                raise ValueError(f"remove must hold numbers of paths with layers of {module.path_widths}, got {path}")
        if len(gone) == len(module.paths):
            raise ValueError(f"remove must leave a path of {name!r}, got all {len(gone)}")


def silence_paths(model: nn.Module, plan: Plan) -> None:
    """What is left when paths give nothing, without cutting: their last layers give zeros."""
    for name, gone in plan.paths.items():
        for path in gone:
            model.get_submodule(name).paths[path][-1].register_forward_hook(_zeros)


def _zeros(block: nn.Module, args: tuple, y: Tensor) -> Tensor:
    return torch.zeros_like(y)


def cut_paths(model: nn.Module, plan: Plan) -> None:
    """In place; channels were cut before."""
    for name, gone in plan.paths.items():
        _cut(model.get_submodule(name), gone)


def _cut(module: MultiPathGCN, gone: Sequence[int]) -> None:
    stays = [p for p in range(len(module.paths)) if p not in gone]
    lin = module.readout.lin if isinstance(module.readout, GCNConv) else module.readout
    weight = lin.weight.detach()
    if module.combine == "concat":
        widths = [path[-1].conv.out_channels if len(path) else module.width_of_paths_input for path in module.paths]
        weight = torch.cat([weight.split(widths, 1)[p] for p in stays], 1)
    elif module.combine == "mean":
        weight = weight * (len(stays) / len(module.paths))
    lin.weight = nn.Parameter(weight.clone(), lin.weight.requires_grad)
    lin.in_channels = weight.size(1)
    if isinstance(module.readout, GCNConv):
        module.readout.in_channels = weight.size(1)
    module.paths = nn.ModuleList(module.paths[p] for p in stays)
    module.path_widths = tuple(module.path_widths[p] for p in stays)
    module._together = Together([path[0] for path in module.paths if len(path)])
