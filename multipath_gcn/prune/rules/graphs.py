"""Messages along edges: rows are gathered and summed, columns stay."""

from torch import Tensor
from torch.utils._pytree import tree_leaves

from multipath_gcn.prune.labels import Call, Labels
from multipath_gcn.prune.rules.registry import rule


@rule("scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", "index_add", "index_add_", "index_reduce",
      "index_reduce_", "scatter", "scatter_")  # fmt: skip
def scatter(call: Call) -> Labels:
    into, dim, source = call.labels(call[0]), call[1], call[3]
    if not isinstance(source, Tensor):
        return into
    labels = call.labels(source)
    dim %= len(labels.dims)
    call.pin(labels.dims[dim], "adds channels up by their numbers")
    for ids in labels.dims:
        call.trace.note("propagated", ids)
    dims = zip(into.dims, labels.dims, strict=True)
    return Labels(tuple(None if i == dim else call.match(a, b) for i, (a, b) in enumerate(dims)))


@rule(
    "multipath_gcn::propagate",
    "multipath_gcn::propagate_extreme",
    "multipath_gcn::propagate_activated",
    "multipath_gcn::activate",
)
def propagate(call: Call) -> list[Labels]:
    x = call.labels(call[0])
    call.pin(x.dims[0], "takes channels for nodes")
    if call.op == "multipath_gcn::propagate" and isinstance(x.dims[0], Tensor):  # sparse features times a weight
        call.trace.note("produced", x.dims[1])
    bias = {"multipath_gcn::propagate_activated": 9, "multipath_gcn::activate": 1}.get(call.op)
    if bias is not None and isinstance(call[bias], Tensor):
        call.match(x.dims[1], call.labels(call[bias]).dims[0])
    if call.op != "multipath_gcn::activate":
        call.trace.note("propagated" if "extreme" not in call.op else "changed", x.dims[1])
    if bias is not None and call[bias + 1]:
        call.trace.note("rectified", x.dims[1])
    outs = [leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor)]
    y = Labels((None, x.dims[1]))
    return [y, *(Labels.all(out) for out in outs[1:])]
