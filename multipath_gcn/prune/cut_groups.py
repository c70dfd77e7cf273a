"""A grouped convolution that has lost channels: a smaller one where every group lost as many, else uneven groups."""

import torch
from torch import nn

from multipath_gcn.prune.plan import Plan
from multipath_gcn.prune.uneven import may_be_uneven, replace_by_uneven


def cut_groups(model: nn.Module, name: str, plan: Plan) -> nn.Module:
    path = name.rpartition(".")[0]
    conv, groups = model.get_submodule(path), plan.grouped[name]["groups"]
    if not isinstance(conv, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        raise ValueError(f"{name} must belong to a convolution to be cut in its groups, got {type(conv).__name__}")
    staying = plan.grouped[name]["channels"]
    rows = plan.kept.get(name, {}).get(0, list(range(conv.out_channels)))
    k, m = conv.in_channels // groups, conv.out_channels // groups
    new = {channel: i for i, channel in enumerate(staying)}
    filters = [[row for row in rows if row // m == g] for g in range(groups)]
    inputs = [[channel for channel in range(g * k, (g + 1) * k) if channel in new] for g in range(groups)]
    live = [g for g in range(groups) if filters[g]]
    even = len({len(filters[g]) for g in live}) == len({len(inputs[g]) for g in live}) == 1 and sum(
        len(inputs[g]) for g in live
    ) == len(staying)
    parts = [_part(conv.weight, filters[g], [channel - g * k for channel in inputs[g]]) for g in live]
    bias = None if conv.bias is None else conv.bias[rows]
    if even:
        conv.weight = nn.Parameter(torch.cat(parts), conv.weight.requires_grad)
        conv.groups, conv.in_channels, conv.out_channels = len(live), len(staying), len(rows)
        if bias is not None:
            conv.bias = nn.Parameter(bias, conv.bias.requires_grad)
        return conv
    if not may_be_uneven(conv):
        raise ValueError(
            f"{path} must be a plain Conv2d without hooks to lose unequal parts of its groups, got {conv}; "
            "remove the same number of channels from every group"
        )
    return replace_by_uneven(model, path, [[new[c] for c in inputs[g]] for g in live], parts, bias)


def _part(weight: torch.Tensor, rows: list[int], columns: list[int]) -> torch.Tensor:
    return weight[rows][:, columns] if columns else weight[rows][:, :1] * 0  # constant filters: they read zeros
