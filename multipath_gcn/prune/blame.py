"""The operator at which a model that has lost channels parts from one with zeros for them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.trace import Trace


class _Values(Trace):
    """Keeps of every operator its name, its module, and what it gave."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.seen: list[tuple[str, str, list[Tensor]]] = []
        self.last = "the model"

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.last = f"{func._schema.name} in {self.where}"
        out = super().__torch_dispatch__(func, types, args, kwargs)
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.seen.append((func._schema.name, self.where, tensors))
        return out


def blame(reference: nn.Module, smaller: nn.Module, plan: Plan, inputs: tuple) -> str:
    """Runs both, operator by operator, up to the first that fails or whose values are not those of the reference."""
    if plan.paths:  # whose layers have other names now
        return f"the combination of paths in {', '.join(repr(name) for name in plan.paths)}"
    whole, less = _Values(reference), _Values(smaller)
    whole.run(reference, inputs)
    failed = None
    try:
        less.run(smaller, inputs)
    except Exception:  # what it raised was reported by whoever asks
        failed = less.last
    label, _ = whole.relations.classes()
    gone = _removed(whole, plan)
    removed = torch.from_numpy(label[gone]).unique() if len(gone) else torch.empty(0)
    classes = torch.from_numpy(label)
    by_module: dict[str, list] = {}
    for name, where, tensors in whole.seen:
        by_module.setdefault(where, []).append((name, tensors))
    for name, where, tensors in less.seen:
        pending = by_module.get(where, [])
        if not pending or pending[0][0] != name:
            by_module[where] = []  # another layer in its place: its operators cannot be compared one by one
            continue
        _, wanted = pending.pop(0)
        for y, full in zip(tensors, wanted, strict=True):
            if not _agree(y, full, whole, classes, removed):
                return f"{name} in {where}"
    return failed or less.last


def _removed(trace: Trace, plan: Plan) -> list[int]:
    found = []
    for owner in trace.relations.owners:
        at = plan.kept.get(owner.name, {}).get(owner.dim)
        if at is not None:
            found += sorted(set(range(owner.first, owner.first + owner.size)) - {owner.first + i for i in at})
    return found


def _agree(y: Any, full: Tensor, trace: Trace, classes: Tensor, removed: Tensor) -> bool:
    for dim, ids in enumerate(trace.labels(full).dims):
        if isinstance(ids, Tensor) and ids.shape[0] == full.size(dim):
            full = full.index_select(dim, (~torch.isin(classes[ids], removed)).nonzero().flatten().to(full.device))
    if y.shape != full.shape:
        return False
    if not y.is_floating_point() or not y.numel():
        return True
    y, full = y.detach().double(), full.detach().double()
    return bool((y - full).abs().max() <= 1e-3 * max(1.0, float(full.abs().max())))
