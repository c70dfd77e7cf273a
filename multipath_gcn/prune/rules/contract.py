"""Products of matrices and convolutions: what is summed over is read, what remains of a weight is produced."""

import torch
from torch import Tensor

from multipath_gcn.prune.labels import Call, Dim, Labels, Read
from multipath_gcn.prune.rules.registry import rule


def _bias(call: Call, bias: object, ids: Dim) -> None:
    if isinstance(bias, Tensor) and bias.numel() > 1:
        call.match(ids, call.labels(bias).dims[-1])


@rule("mm", "bmm", "mv", "dot", "_sparse_mm", "matmul")
def mm(call: Call) -> Labels:
    return _product(call, call[0], call[1])


@rule("addmm", "baddbmm", "addmv", "_addmm_activation", "sparse_addmm")
def addmm(call: Call) -> Labels:
    y = _product(call, call[1], call[2])
    _bias(call, call[0], y.dims[-1])
    return y


@rule("linear")
def linear(call: Call) -> Labels:
    x, weight = call.labels(call[0]), call.labels(call[1])
    call.match(x.dims[-1], weight.dims[1])
    call.trace.note("read", weight.dims[1], call[1])
    call.trace.note("produced", weight.dims[0], call[1])
    _bias(call, call[2], weight.dims[0])
    return Labels((*x.dims[:-1], weight.dims[0]))


def _product(call: Call, a: Tensor, b: Tensor) -> Labels:
    left, right = call.labels(a), call.labels(b)
    call.match(left.dims[-1], right.dims[-2 if b.dim() > 1 else -1])
    if not any(isinstance(ids, Tensor) for ids in (*left.dims, right.dims[-2:][0])):  # a graph's matrix times rows
        call.trace.note("propagated", right.dims[-1])
    batch: list[Dim] = []
    if a.dim() == 3 and b.dim() == 3:
        batch = [call.match(left.dims[0], right.dims[0])]
    rows = [left.dims[-2]] if a.dim() > 1 else []
    columns = [right.dims[-1]] if b.dim() > 1 else []
    for summed in (left.dims[-1], right.dims[-2 if b.dim() > 1 else -1]):
        call.trace.note("read", summed)
    for ids in (*rows, *columns):
        call.trace.note("produced", ids)
    return Labels((*batch, *rows, *columns))


@rule("convolution", "_convolution")
def convolution(call: Call) -> Labels:
    x, weight = call.labels(call[0]), call.labels(call[1])
    transposed, groups = call[6], call[8]
    return _convolution(call, x, weight, call[2], transposed, groups)


@rule("multipath_gcn::grouped_conv2d")
def grouped_conv2d(call: Call) -> Labels:
    return _convolution(call, call.labels(call[0]), call.labels(call[1]), call[2], False, call[6])


def _convolution(call: Call, x: Labels, weight: Labels, bias: object, transposed: bool, groups: int) -> Labels:
    channel_dim = len(x.dims) - len(weight.dims) + 1
    read, (rows, columns) = x.dims[channel_dim], weight.dims[:2]
    if transposed:
        rows, columns = columns, rows
    if groups == 1:
        call.match(read, columns)
        call.trace.note("changed" if transposed else "read", columns, call[1])
    elif transposed:
        for ids in (read, rows, columns):
            call.pin(ids, "is a transposed convolution in groups")
        rows = None
    elif call[1].size(1) == 1:  # depthwise: a channel goes with its filters
        m = call[1].size(0) // groups
        call.match(read.repeat_interleave(m) if isinstance(read, Tensor) else read, rows)
    if groups > 1 and not transposed:
        if call[1].size(1) > 1:
            call.trace.note("read", read)
        call.trace.read(call, call[1], Read(read, call[0].size(channel_dim), groups))
    call.trace.note("produced" if call[1].size(1) > 1 or groups == 1 else "depthwise", rows, call[1])
    _bias(call, bias, rows)
    dims: list[Dim] = [None] * len(x.dims)
    dims[channel_dim] = rows
    return Labels(tuple(dims))


@rule("embedding")
def embedding(call: Call) -> Labels:
    columns = call.labels(call[0]).dims[1]
    call.trace.note("produced", columns, call[0])
    return Labels((*(None for _ in call[1].shape), columns))


@rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math",
      "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
      "scaled_dot_product_attention")  # fmt: skip
def attention(call: Call) -> list[Labels]:
    query, key, value = (call.labels(call[i]) for i in range(3))
    for ids in (query.dims[-1], key.dims[-1]):
        call.pin(ids, "divides by the root of the number of channels")
    for dim in range(len(query.dims) - 2):
        call.match(query.dims[dim], key.dims[dim])
        call.match(query.dims[dim], value.dims[dim])
    outs = [
        leaf
        for leaf in (call.out if isinstance(call.out, (tuple, list)) else [call.out])
        if isinstance(leaf, torch.Tensor)
    ]
    return [Labels((*query.dims[:-1], value.dims[-1])), *(Labels.all(out) for out in outs[1:])]
