"""y[i, j, ...] = f(a[i, j, ...], b[i, j, ...], ...), broadcast: what meets is one channel."""

from functools import reduce

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from multipath_gcn.prune.labels import BLANK, Call, Labels
from multipath_gcn.prune.rules.registry import rule

RECTIFY = ("aten::relu", "aten::relu_")
SCALE = ("aten::mul", "aten::mul_", "aten::div", "aten::div_")
LINEAR = ("aten::add", "aten::add_", "aten::sub", "aten::sub_", "aten::copy_", "multipath_gcn::combine")


@rule(
    "add", "where", "masked_fill", "masked_fill_", "copy_", "multipath_gcn::combine", "_prelu_kernel", "fill_", "zero_"
)
def pointwise(call: Call) -> Labels:
    tensors = [leaf for leaf in tree_leaves((call.args, call.kwargs)) if isinstance(leaf, Tensor)]
    first = next(leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor))
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors), first.shape)
    dims = []
    for dim in range(-len(shape), 0):
        meeting = [call.labels(tensor).dims[dim] for tensor in tensors if tensor.dim() >= -dim and tensor.size(dim) > 1]
        ids = reduce(call.match, meeting, BLANK)
        dims.append(ids)
        call.trace.note(_happens(call, len(tensors), sum(isinstance(dim, Tensor) for dim in meeting)), ids)
    return Labels(tuple(dims))


def _happens(call: Call, operands: int, with_channels: int) -> str:
    """What an operator of so many operands, of which some have channels, does to them."""
    if call.op in RECTIFY:
        return "rectified"
    if call.op in LINEAR and operands > 1:
        return "added"
    if call.op in SCALE and operands > 1 and with_channels == 1:
        return "propagated"  # all channels alike, as by the weight of an edge
    return "changed"


@rule(
    "clone", "contiguous", "alias", "detach", "_to_copy", "lift_fresh", "to", "view_as", "native_dropout", "bernoulli_"
)
def same(call: Call) -> Labels:
    return call.labels(call[0])


@rule("zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "full_like", "new_zeros", "new_empty",
      "new_full", "new_ones", "new_empty_strided", "empty", "zeros", "ones", "full", "empty_strided",
      "arange")  # fmt: skip
def made(call: Call) -> Labels:
    return Labels.all(call.out, BLANK)


@rule("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit",
      "cudnn_batch_norm", "_batch_norm_no_update", "_batch_norm_with_update", "_batch_norm_impl_index")  # fmt: skip
def batch_norm(call: Call) -> list[Labels]:
    x = call.labels(call[0])
    call.trace.note("normalised", x.dims[1], *call.args[1:5])
    for parameter in call.args[1:5]:
        if isinstance(parameter, Tensor) and parameter.numel() > 1:
            call.match(x.dims[1], call.labels(parameter).dims[0])
    return [x]


@rule("native_group_norm", "native_layer_norm")
def norm_over_channels(call: Call) -> list[Labels]:
    x = call.labels(call[0])
    if call.op == "aten::native_group_norm":
        statistics, parameters, dims = call[6] == call[0].size(1), call.args[1:3], [1]
    else:
        statistics, parameters, dims = False, call.args[2:4], range(-len(call[1]), 0)
    for parameter in parameters:
        if isinstance(parameter, Tensor):
            for i, dim in enumerate(dims):
                if parameter.size(i) > 1:
                    call.match(x.dims[dim], call.labels(parameter).dims[i])
    for dim in dims:
        call.trace.note("changed", x.dims[dim])
    if not statistics:
        for dim in dims:
            call.pin(x.dims[dim], "normalises over channels: those that remain would change")
    return [x]


@rule("glu")
def glu(call: Call) -> Labels:
    """The first half of the channels times a gate of the second."""
    x, dim = call.labels(call[0]), -1 if call[1] is None else call[1]
    ids = x.ids(dim)
    if ids is None:
        return x
    first, second = ids.chunk(2)
    call.relations.unite(first, second)
    call.trace.note("changed", first)
    dims = list(x.dims)
    dims[dim] = first
    return Labels(tuple(dims))
