"""Operators that read along whole dimensions: sums, means, pooling, softmax."""

from torch import Tensor
from torch.utils._pytree import tree_leaves

from multipath_gcn.prune.labels import Call, Labels
from multipath_gcn.prune.rules.registry import rule


@rule("sum", "mean", "amax", "amin", "max", "min", "norm", "linalg_vector_norm", "var", "std", "var_mean", "prod",
      "any", "all", "argmax", "argmin", "logsumexp", "median", "std_mean")  # fmt: skip
def reduce(call: Call) -> list[Labels]:
    x = call[0]
    named = any(argument.name == "dim" for argument in call.function._schema.arguments)
    given = call.named("dim") if named else None
    dims = range(x.dim()) if given is None or given == [] else given if isinstance(given, (list, tuple)) else [given]
    dims = {dim % x.dim() for dim in dims}
    labels = call.labels(x)
    for dim in dims:
        if call.op != "aten::sum":  # channels of zeros add nothing; that they are zero is verified
            call.pin(labels.dims[dim], "reads all channels: what it gives depends on their number")
    out = next(leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor))
    keepdim = out.dim() == x.dim()
    kept = Labels(tuple(None if i in dims else ids for i, ids in enumerate(labels.dims) if keepdim or i not in dims))
    return [kept] * len([leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor)])


@rule("softmax", "_softmax", "_log_softmax", "log_softmax", "cumsum", "cumprod", "sort", "topk", "_safe_softmax")
def along(call: Call) -> list[Labels]:
    labels = call.labels(call[0])
    call.pin(labels.dims[call.named("dim")], "reads all channels: what it gives depends on their number")
    return [labels] * len([leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor)])


@rule("max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
      "mkldnn_max_pool2d", "adaptive_avg_pool2d", "upsample_bilinear2d", "upsample_bicubic2d",
      "_upsample_bilinear2d_aa",
      "max_pool3d_with_indices", "avg_pool3d", "_adaptive_avg_pool3d", "grid_sampler_2d")  # fmt: skip
def images(call: Call) -> list[Labels]:
    labels = call.labels(call[0])
    channels = len(labels.dims) - (3 if "3d" in call.op else 2)
    for ids in labels.dims[channels:]:
        call.pin(ids, "takes channels for places of an image")
    kept = Labels((*labels.dims[:channels], *(None for _ in labels.dims[channels:])))
    return [kept] * len([leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor)])


@rule("max_pool1d", "max_pool1d_with_indices", "avg_pool1d", "_adaptive_avg_pool1d", "adaptive_avg_pool1d")
def rows(call: Call) -> list[Labels]:
    labels = call.labels(call[0])
    call.pin(labels.dims[-1], "takes channels for places of a row")
    return [Labels((*labels.dims[:-1], None))] * len(
        [leaf for leaf in tree_leaves(call.out) if isinstance(leaf, Tensor)]
    )
