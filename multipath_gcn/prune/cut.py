"""Removes from a model what a plan says: smaller tensors, and layers that know of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from multipath_gcn.prune.cut_branches import check_branches, cut_branches
from multipath_gcn.prune.cut_groups import cut_groups
from multipath_gcn.prune.cut_paths import check_paths, cut_paths
from multipath_gcn.prune.cut_regrouped import cut_regrouped
from multipath_gcn.prune.cut_windows import cut_windows
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.resize import resize


def cut(model: nn.Module, plan: Plan) -> None:
    """Changes ``model`` in place, wholly or, if anything is wrong, not at all.

    Parameters become new ones: an optimizer must be made anew.

    Raises:
        ValueError: for a plan of another model.
    """
    _check(model, plan)
    check_paths(model, plan)
    check_branches(model, plan)
    with _whole_or_not_at_all(model), torch.no_grad():
        changed: set[nn.Module] = set()
        done = {name: cut_windows(model, name, plan) for name in plan.windowed}
        done |= {name: cut_groups(model, name, plan) for name in plan.grouped}
        handled = {f"{name.rpartition('.')[0]}.{part}" for name in done for part in ("weight", "bias")}
        new: dict[int, Tensor] = {}  # tensors that several names share stay shared
        for name, dims in plan.kept.items():
            if name in handled:
                continue
            tensor = _tensor(model, name)
            for module, attribute in _places(model, tensor):
                if id(tensor) not in new:
                    new[id(tensor)] = selected(tensor, dims)
                _set(module, attribute, new[id(tensor)])
                changed.add(module)
        for name, groups in plan.regrouped.items():
            cut_regrouped(model, name, groups)
        for module in reversed(list(model.modules())):  # children before their parents
            if module in changed or any(part in changed for part in module.modules()):
                resize(module)
        cut_paths(model, plan)
        cut_branches(model, plan)


def selected(tensor: Tensor, dims: dict[int, list[int]]) -> Tensor:
    """The given positions of every dimension, as a parameter if the tensor is one."""
    part = tensor.detach()
    for dim, at in dims.items():
        part = part.index_select(dim, torch.tensor(at, device=tensor.device))
    part = part.clone()
    return nn.Parameter(part, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else part


def _tensor(model: nn.Module, name: str) -> Tensor:
    path, _, attribute = name.rpartition(".")
    return getattr(model.get_submodule(path), attribute)


def _places(model: nn.Module, tensor: Tensor) -> list[tuple[nn.Module, str]]:
    return [
        (module, attribute)
        for module in model.modules()
        for attribute, found in [*module._parameters.items(), *module._buffers.items()]
        if found is tensor
    ]


def _set(module: nn.Module, attribute: str, tensor: Tensor) -> None:
    (module._parameters if attribute in module._parameters else module._buffers)[attribute] = tensor


def _check(model: nn.Module, plan: Plan) -> None:
    known = dict([*model.named_parameters(), *model.named_buffers()])
    for name, dims in plan.kept.items():
        if name not in known:
            raise ValueError(f"plan must be of this model, which has no {name!r}")
        for dim, at in dims.items():
            if dim >= known[name].dim() or (at and max(at) >= known[name].size(dim)):
                raise ValueError(
                    f"plan must be of this model, whose {name!r} is {list(known[name].shape)}, "
                    f"got {at} of dimension {dim}"
                )


@contextmanager
def _whole_or_not_at_all(model: nn.Module) -> Iterator[None]:
    holders = ("_parameters", "_buffers", "_modules")
    before = {
        module: (type(module), dict(vars(module)), {name: dict(vars(module)[name]) for name in holders})
        for module in model.modules()
    }
    try:
        yield
    except BaseException:
        for module, (kind, attributes, held) in before.items():
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes)
            for name, items in held.items():
                vars(module)[name].clear()
                vars(module)[name].update(items)
        raise
