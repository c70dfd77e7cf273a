"""Operators that put values elsewhere and change none: the numbers of channels go that way by the same operator."""

from functools import partial, reduce

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from multipath_gcn.prune.labels import BLANK, Call, Labels, plane
from multipath_gcn.prune.rules.registry import rule


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "t", "transpose", "numpy_T", "unsqueeze",
      "squeeze", "flip", "roll", "repeat", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d",
      "replication_pad2d", "pixel_shuffle", "pixel_unshuffle", "im2col", "upsample_nearest2d", "index", "index_select",
      "gather", "unfold", "movedim", "multipath_gcn::transposed", "repeat_interleave", "tril", "triu", "diagonal",
      "unsafe_split_with_sizes", "flatten", "swapaxes")  # fmt: skip
def move(call: Call) -> list[Labels]:
    tensors = [leaf for leaf in tree_leaves(call.args) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    outs = [leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor)]
    found = [[None] * out.dim() for out in outs]
    for dim in range(max(tensor.dim() for tensor in tensors)):
        if all(call.labels(tensor).ids(dim) is None for tensor in tensors):
            continue
        numbered = tree_map(partial(_numbers, call, dim), call.args)
        numbered = tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf, numbered)
        moved = numbered[0].reshape(numbered[1]) if _splits(call) else call.function(*numbered, **call.kwargs)
        for labels, numbers in zip(
            found, (leaf for leaf in tree_leaves(moved) if isinstance(leaf, Tensor)), strict=True
        ):
            _read(call, labels, numbers)
    return [Labels(tuple(labels)) for labels in found]


@rule("as_strided", "as_strided_")
def restride(call: Call) -> Labels:
    """The same values by other strides of dimensions of one position: what pooling does to channels-last maps."""
    x, labels = call[0], call.labels(call[0])
    strides = zip(x.shape, x.stride(), call[2], strict=False)
    if list(call[1]) == list(x.shape) and all(size == 1 or old == new for size, old, new in strides):
        return labels
    for ids in labels.dims:
        call.pin(ids, "reads channels by their places in memory")
    return Labels.all(call.out)


@rule("cat", "stack")
def join(call: Call) -> Labels:
    """Channels that lie at one place of different tensors are one channel; along ``dim`` they follow each other."""
    parts, dim = call[0], call[1] or 0
    parts = [part for part in parts if part.shape != (0,)]
    dim %= call.out.dim()
    labels = [list(call.labels(part).dims) for part in parts]
    for d, ids in enumerate(zip(*labels, strict=True)):
        if call.op == "aten::stack" or d != dim:
            call.trace.join(ids)
    if call.op == "aten::stack":
        rest = [reduce(call.match, ids) for ids in zip(*labels, strict=True)]
        return Labels((*rest[:dim], None, *rest[dim:]))
    along = [one.pop(dim) for one in labels]
    rest = [reduce(call.match, ids) for ids in zip(*labels, strict=True)]
    if any(isinstance(ids, Tensor) for ids in along):
        fixed = call.relations.fixed(call.reason("joins channels with what is none"))
        sizes = [part.size(dim) for part in parts]
        joined = torch.cat(
            [ids if isinstance(ids, Tensor) else fixed.expand(n) for ids, n in zip(along, sizes, strict=True)]
        )
    else:
        joined = BLANK if all(ids is BLANK for ids in along) else None
    return Labels((*rest[:dim], joined, *rest[dim:]))


@rule("expand")
def expand(call: Call) -> Labels:
    x, labels = call[0], call.labels(call[0])
    new = call.out.dim() - x.dim()
    known = (
        labels.dims[i - new] if i >= new and x.size(i - new) == size else BLANK for i, size in enumerate(call.out.shape)
    )
    return Labels(tuple(known))


def _numbers(call: Call, dim: int, leaf: object) -> object:
    if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
        return leaf
    ids = call.labels(leaf).ids(dim)
    if ids is None:  # beside channels, in one tensor
        ids = call.relations.fixed(call.reason("joins channels with what is none")).expand(
            leaf.shape[dim : dim + 1] or (1,)
        )
    return plane(ids, dim, leaf.shape) if leaf.dim() else (ids.double() + 1).squeeze()


def _read(call: Call, labels: list[Tensor | None], numbers: Tensor) -> None:
    """The dimension along which numbers differ is that of the channels."""
    numbers = numbers.long() - 1
    if (numbers < 0).any():  # filled in by the operator
        filled = call.relations.fixed(call.reason("adds a fixed number of constant channels"))
        numbers = torch.where(numbers < 0, filled, numbers)
    varying = [
        dim for dim in range(numbers.dim()) if numbers.size(dim) > 1 and (numbers != numbers.narrow(dim, 0, 1)).any()
    ]
    if not varying:
        call.pin(numbers.flatten()[:1], "takes one channel by its number")
        return
    if len(varying) > 1:
        keep = call.trace.choose(call, varying[::-1] if _splits(call) else varying)
        if keep is None:
            call.pin(numbers.flatten(), "lays channels out in a way that is written in the code")
            return
        for dim in varying:
            if dim != keep:
                call.relations.unite(numbers, numbers.narrow(dim, 0, 1))
                numbers = numbers.narrow(dim, 0, 1)
        varying = [keep]
    ids = numbers.movedim(varying[0], 0).flatten(1)[:, 0] if numbers.dim() > 1 else numbers
    if labels[varying[0]] is not None:
        call.pin(ids, "merges two dimensions of channels")
        call.pin(labels[varying[0]], "merges two dimensions of channels")
    labels[varying[0]] = ids


def _splits(call: Call) -> bool:
    """Whether one dimension became several: which of them the channels are is not known, mostly the last."""
    return call.op.split("::")[1] in ("view", "_unsafe_view", "reshape", "_reshape_alias")


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(call: Call) -> Labels:
    """Channel (g, i) of groups to (i, g): the same i goes from every group."""
    x = call.labels(call[0])
    if x.ids(1) is None:
        return x
    grid = x.ids(1).view(call[1], -1)
    call.relations.unite(grid, grid[:1])
    return Labels((x.dims[0], grid.t().flatten(), *x.dims[2:]))


@rule("slice", "narrow", "select", "unbind", "split", "split_with_sizes", "unsafe_split", "chunk")
def part(call: Call) -> list[Labels]:
    """Parts of equal size keep their bounds if the same channels go from each; other bounds are held to be fixed."""
    x = call.labels(call[0])
    operator = call.op.split("::")[1]
    dim = {"slice": call[1], "narrow": call[1], "select": call[1], "unbind": call[1]}.get(operator, call[2]) or 0
    dim %= call[0].dim()
    outs = [leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor)]
    ids = x.ids(dim)
    drops = operator in ("select", "unbind")
    rest = [*x.dims[:dim], *x.dims[dim + 1 :]]
    if ids is None or (not drops and outs[0].size(dim) == len(ids)):
        return [Labels(tuple(rest)) if drops else x for _ in outs]
    if drops:
        call.pin(ids, "takes channels by their numbers")
        return [Labels(tuple(rest)) for _ in outs]
    size = outs[0].size(dim)
    moved = call.function(plane(ids, 0, ids.shape), *_along_first(call, operator), **call.kwargs)
    parts = [leaf.long() - 1 for leaf in tree_leaves(moved) if isinstance(leaf, Tensor)]
    first = int((ids == parts[0][0]).nonzero()[0]) if size else 0
    even = size and len(ids) % size == 0 and first % size == 0 and all(len(p) == size for p in parts)
    if not even or (operator == "slice" and (call[4] or 1) != 1):
        call.pin(ids, "takes channels by bounds written in the code")
    else:
        grid = ids.view(-1, size)
        call.relations.unite(grid, grid[:1])
    return [Labels((*x.dims[:dim], numbers, *x.dims[dim + 1 :])) for numbers in parts]


def _along_first(call: Call, operator: str) -> tuple:
    if operator in ("slice", "narrow"):
        return (0, *call.args[2:])
    return (call[1], 0)
