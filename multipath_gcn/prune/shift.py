"""Constants added to what a layer gives."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.nn import GCNConv
from multipath_gcn.nn.channel import ChannelConv2d, ChannelLinear
from multipath_gcn.prune.channels import Channels
from multipath_gcn.prune.errors import CannotPrune
from multipath_gcn.prune.plan import Plan

TAKE_A_BIAS = (nn.Linear, Linear, _ConvNd, ChannelLinear, ChannelConv2d)


@torch.no_grad()
def shift_output(model: nn.Module, channels: Channels, weight: str, added: Tensor) -> bool:
    """Adds constants [O] to what a weight's layer gives: to the mean of a norm that follows at once, or to its bias.

    Returns:
        Whether the norm has it.

    Raises:
        CannotPrune: for a layer that has no bias and whose class does not take one.
    """
    if not added.any():
        return False
    norm = channels.norm_after(weight)
    if norm is not None and norm[2] is not None:
        mean = model.get_buffer(norm[2])
        mean -= added.to(mean)
        return True
    bias = bias_of(model, weight)
    if bias is None:
        layer = model.get_submodule(weight.rpartition(".")[0])
        if not isinstance(layer, TAKE_A_BIAS):
            where = f"{type(layer).__name__} of {weight!r}"
            raise CannotPrune(f"{where} takes no bias for what a channel adds that is removed", where)
        layer.bias = nn.Parameter(added.to(layer.weight), layer.weight.requires_grad)
    else:
        bias += added.to(bias)
    return False


def bias_of(model: nn.Module, weight: str) -> nn.Parameter | None:
    """The bias of the layer that has this weight; of our GCNConv that after propagation, whose rows do not sum to 1:
    there a constant is taken over approximately."""
    path = weight.rpartition(".")[0]
    layer, above = model.get_submodule(path), model.get_submodule(path.rpartition(".")[0])
    if isinstance(above, GCNConv) and above.bias is not None:
        return above.bias
    bias = getattr(layer, "bias", None)
    return bias if isinstance(bias, nn.Parameter) and isinstance(layer, TAKE_A_BIAS) else None


def with_new_biases(plan: Plan, before: nn.Module, after: nn.Module, channels: Channels) -> Plan:
    """The plan for a model to whose layers compensation has given biases: they are cut as the weights' rows are."""
    known, kept = dict(before.named_parameters()), dict(plan.kept)
    for name, _ in after.named_parameters():
        weight = name.removesuffix("bias") + "weight"
        at = plan.kept.get(weight, {}).get(channels.produced_dim(weight))
        if name not in known and at is not None:
            kept[name] = {0: at}
    return replace(plan, kept=kept)
