"""drop(act(Â X Wᵀ + b)): transform and propagation in the cheaper order, what follows them in the last kernel's store."""

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import UninitializedParameter
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.graph import Graph
from multipath_gcn.nn.channel import ChannelLinear
from multipath_gcn.nn.hooks import hooked
from multipath_gcn.ops import ChannelWindows, activate, channel_transform, propagate
from multipath_gcn.ops.features import Features, is_sparse, sparse_linear, width
from multipath_gcn.ops.propagate import kept_product

REDUCE = {"add": "sum", "sum": "sum", "mean": "mean", "max": "max", "min": "min"}  # PyG's names -> ours


class Transform(Protocol):
    """X Wᵀ of dense or sparse features, with a bias and an activation on request."""

    out_channels: int

    def __call__(self, x: Features, bias: Tensor | None = None, activation: str | None = None) -> Tensor: ...


class LinearTransform:
    """Calls a layer without bias: ``Linear``, :class:`ChannelLinear`, or any other module."""

    def __init__(self, lin: nn.Module, out_channels: int):
        self.lin, self.out_channels = lin, out_channels

    def __call__(self, x: Features, bias: Tensor | None = None, activation: str | None = None) -> Tensor:
        lin = self.lin
        if isinstance(getattr(lin, "weight", None), UninitializedParameter):
            lin.initialize_parameters(lin, (x if isinstance(x, Tensor) else torch.empty(0, width(x)),))
        if type(lin).forward not in (Linear.forward, ChannelLinear.forward) or hooked(lin) or lin.bias is not None:
            return activate(lin(x.to_dense() if is_sparse(x) else x), bias, activation)
        return transform(x, lin.weight, None if isinstance(lin, Linear) else lin.windows, bias, activation)


def transform(
    x: Features, weight: Tensor, windows: ChannelWindows | None, bias: Tensor | None, activation: str | None
) -> Tensor:
    """``windows`` are None for a dense weight."""
    if is_sparse(x) and windows is None:
        return activate(sparse_linear(x, weight), bias, activation)
    x = x.to_dense() if is_sparse(x) else x
    if windows is None and torch.compiler.is_compiling():  # which traces a plain product better than our windows
        y = F.linear(x, weight, bias)
        return y if activation is None else y.relu()
    windows = windows or _dense_windows(weight.size(1), weight.size(0))
    return channel_transform(x, weight, windows, bias, activation)


@lru_cache(maxsize=256)
def _dense_windows(in_channels: int, out_channels: int) -> ChannelWindows:
    return ChannelWindows.dense(in_channels, out_channels)


def convolve(
    graph: Graph,
    x: Features,
    transform: Transform,
    bias: Tensor | None,
    aggr: str,
    activation: str | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """``x`` in the caller's order of nodes, as the result is."""
    reduce = REDUCE[aggr]
    if aggregates_first(x, transform.out_channels, reduce) or has_product(graph, x, reduce):
        return after(product_of(graph, x, reduce), transform, bias, activation, dropout)
    y = transform(x)
    return propagate(graph, y, reduce, bias=_like(bias, y), activation=activation, dropout=dropout)


def after(
    product: Tensor, transform: Transform, bias: Tensor | None, activation: str | None = None, dropout: float = 0.0
) -> Tensor:
    """What is left to do with what was propagated first."""
    if dropout == 0:
        return transform(product, bias, activation)
    y = transform(product)
    return activate(y, _like(bias, y), activation, dropout)


def product_of(graph: Graph, x: Tensor, reduce: str) -> Tensor:
    known = kept_product(graph, x) if reduce == "sum" else None
    return propagate(graph, x, reduce) if known is None else known


def has_product(graph: Graph, x: Features, reduce: str) -> bool:
    return reduce == "sum" and kept_product(graph, x) is not None


def aggregates_first(x: Features, out_channels: int, reduce: str) -> bool:
    """Whether fewer columns pass through the matrix, forward and backward, before the transform than after it."""
    if is_sparse(x) or reduce in ("max", "min"):
        return False
    backward = torch.is_grad_enabled()  # then the weights have a gradient, for which it propagates even if x has none
    return x.size(-1) * (1 + (backward and x.requires_grad)) < out_channels * (1 + backward)


def _like(bias: Tensor | None, y: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(y.dtype)
