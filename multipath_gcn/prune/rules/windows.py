"""Filters that read a window of channels: every channel and every filter may go by itself (see ``cut``)."""

from multipath_gcn.prune.labels import Call, Labels, Read
from multipath_gcn.prune.rules.contract import _bias
from multipath_gcn.prune.rules.registry import rule


@rule("multipath_gcn::channel_transform")
def channel_transform(call: Call) -> Labels:
    x, rows = call.labels(call[0]), call.labels(call[1]).dims[0]
    dim = call[5] % len(x.dims)
    if call[1].size(1) == call[0].size(dim) and not call[3].any():  # dense
        columns = call.labels(call[1]).dims[1]
        call.match(x.dims[dim], columns)
        call.trace.note("read", columns, call[1])
    else:
        call.trace.note("read", x.dims[dim])
        call.trace.read(call, call[1], Read(x.dims[dim], call[0].size(dim), None))
    call.trace.note("produced", rows, call[1])
    _bias(call, call[2], rows)
    return Labels((*x.dims[:dim], rows, *x.dims[dim + 1 :]))
