"""A network of masked filters becomes one of real convolutions in groups."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.cut import cut
from multipath_gcn.prune.cut_regrouped import check_regroupable
from multipath_gcn.prune.errors import CannotPrune
from multipath_gcn.prune.evaluation import evaluated
from multipath_gcn.prune.find import find_channels
from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.readers import readers
from multipath_gcn.prune.reorder import may_be_reordered, reordered
from multipath_gcn.prune.self_grouping import Grouping, importance
from multipath_gcn.prune.signals import signals
from multipath_gcn.prune.verify import copied, same_outputs, verify


@dataclass(frozen=True)
class Repacked:
    """A network in groups.

    Args:
        model: the new network; the one it was made of is as it was.
        plans: what was done, in this order: for :func:`~multipath_gcn.prune.save_pruned`.
        difference: the largest difference of its outputs, over the largest value or 1, on given and random inputs.
    """

    model: nn.Module
    plans: list[Plan]
    difference: float


def repack(model: nn.Module, groupings: Mapping[str, Grouping], *inputs: Any) -> Repacked:
    """Layers whose filters are clustered, and whose weights are zero where a cluster does not read, become
    :class:`~multipath_gcn.nn.UnevenGroupedConv2d` and :class:`~multipath_gcn.nn.UnevenGroupedLinear` of these groups.

    Channels that nothing reads any more go first, and filters that read nothing and give nothing. Then filters are put
    in the order of their groups: in the tensors, where every layer that shares the channels can take another order,
    else by a selection after the convolution. What lies between layers changes its order with them.

    Args:
        model: any module; it is not changed.
        groupings: by the names of layers, as :func:`~multipath_gcn.prune.self_group` gives them.
        inputs: what ``forward`` takes.

    Raises:
        ValueError: for a layer that is neither a plain convolution without groups nor a linear one, or a grouping that
            does not fit it.
        CannotPrune: for a step that cannot be proven.
    """
    for layer, grouping in groupings.items():
        check_regroupable(model, layer)
        _check_fits(layer, model.get_submodule(layer).weight, grouping)
    smaller, plans = copy.deepcopy(model), []
    labels = {layer: grouping.labels for layer, grouping in groupings.items()}
    while True:
        channels = find_channels(smaller, *inputs)
        plan = _dead(smaller, channels, inputs)
        if not plan.count:
            break
        cut(smaller, plan)
        plans.append(plan)
        for layer in labels:
            stays = plan.kept.get(f"{layer}.weight", {}).get(0)
            labels[layer] = labels[layer] if stays is None else labels[layer][stays]
    plan = _regrouped(smaller, channels, labels, inputs)
    verify(smaller, plan, *inputs)
    cut(smaller, plan)
    return Repacked(smaller, [*plans, plan], same_outputs(model, smaller, inputs))


def _check_fits(layer: str, weight: Tensor, grouping: Grouping) -> None:
    if sorted(i for rows in grouping.filters for i in rows) != list(range(len(weight))):
        raise ValueError(
            f"groups of {layer!r} must have each of its {len(weight)} filters once, got {grouping.filters}"
        )
    reads = importance(weight) > 0
    for rows, columns in zip(grouping.filters, grouping.inputs, strict=True):
        other = reads[list(rows)].any(0)
        other[list(columns)] = False
        if other.any():
            gone = other.nonzero().flatten().tolist()
            raise ValueError(
                f"weight of {layer!r} must be zero where groups do not read, filters {list(rows)} read {gone}: "
                "apply the masks first"
            )


def _dead(model: nn.Module, channels: Channels, inputs: tuple) -> Plan:
    """Takes the channels that nothing reads, and filters that read nothing and seem to give nothing, if that is so."""
    unread, silent = {}, {}
    known = dict([*model.named_parameters(), *model.named_buffers()])
    moments = signals(model, channels, in_one_state=True)
    for group in channels.groups:
        read_by = readers(model, channels, group)
        nowhere = sum(reader.energy() for reader in read_by) == 0 if read_by else np.zeros(len(group), bool)
        empty = np.ones(len(group), bool)
        for layer, units in group.rows.items():
            weight = known[group.weights[layer]]
            dim = channels.dim_of(group.weights[layer], group)
            reads = weight.detach().movedim(dim, 0).flatten(1).any(1).numpy(force=True)
            empty[units[reads]] = False
        told = moments[group.name]
        nothing = np.zeros(len(group), bool) if told is None else (told[0] == 0) & (np.diag(told[1]) == 0)
        unread[group.name] = group.spared(unit for unit in group.free if nowhere[unit])
        silent[group.name] = group.spared(
            unit for unit in group.free if nowhere[unit] or (empty[unit] and nothing[unit])
        )
    for removed in (silent, unread):  # moments suppose that norms have counted these weights
        plan = channels.plan_units({name: units for name, units in removed.items() if units})
        if not plan.count:
            return plan
        smaller = copy.deepcopy(model)
        try:
            verify(model, plan, *inputs)
            cut(smaller, plan)
            same_outputs(model, smaller, inputs)
        except CannotPrune:
            continue
        return plan
    return channels.plan_units({})


def _regrouped(model: nn.Module, channels: Channels, labels: Mapping[str, np.ndarray], inputs: tuple) -> Plan:
    orders = {layer: np.argsort(found, kind="stable").tolist() for layer, found in labels.items()}
    taken: set[str] = set()
    moved: dict[str, list[int]] = {}
    all_run = _runs_whole(model, inputs)
    for layer in sorted(labels, key=lambda layer: -len(labels[layer])):
        group = channels.group(layer)
        if group.name not in taken and all_run and may_be_reordered(model, channels, group, layer):
            moved[layer] = orders[layer]
            taken.add(group.name)
    kept = reordered(channels, moved)
    regrouped = {}
    for layer, found in labels.items():
        name = f"{layer}.weight"
        told: dict[str, Any] = {}
        if layer not in moved:
            inverse = np.argsort(orders[layer])  # after other layers have put these rows in their order
            outputs = kept.get(name, {}).get(0, list(range(len(found))))
            kept.setdefault(name, {})[0] = orders[layer]
            if outputs != orders[layer]:
                told["order"] = inverse[outputs].tolist()
        rows, columns = orders[layer], kept.get(name, {}).get(1)
        reads = (importance(model.get_parameter(name)) > 0).numpy(force=True)[rows]
        reads = reads if columns is None else reads[:, columns]
        sizes = np.unique(found, return_counts=True)[1].tolist()
        parts = np.split(reads, np.cumsum(sizes)[:-1])
        regrouped[name] = told | {"filters": sizes, "inputs": [np.flatnonzero(p.any(0)).tolist() for p in parts]}
    return Plan({}, kept, regrouped=regrouped)


def _runs_whole(model: nn.Module, inputs: tuple) -> bool:
    """Whether a call runs every module that has parameters: what it does not run would not learn of a new order."""
    called: set[nn.Module] = set()
    hooks = [module.register_forward_hook(lambda module, *_: called.add(module)) for module in model.modules()]
    try:
        evaluated(model, copied(inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return all(module in called for module in model.modules() if module._parameters or module._buffers)
