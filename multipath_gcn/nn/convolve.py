"""drop(act(Â X Wᵀ + b)): transform and propagation in the cheaper order, the rest in the last kernel's store."""

from collections.abc import Sequence
from functools import lru_cache, partial

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
from multipath_gcn.ops.graph_transform import (
    is_worth_it,
    propagate_large,
    transform_activate,
    transform_propagate,
)
from multipath_gcn.ops.propagate import kept_product

REDUCE = {"add": "sum", "sum": "sum", "mean": "mean", "max": "max", "min": "min"}  # PyG's names -> ours


class LinearTransform:
    """Calls a layer without bias: ``Linear``, :class:`ChannelLinear`, or any other module."""

    def __init__(self, lin: nn.Module, out_channels: int):
        self.lin, self.out_channels = lin, out_channels

    def parts(self, x: Features) -> tuple[Tensor, ChannelWindows | None] | None:
        """Weight and windows, or ``None`` for a layer that must be called itself."""
        lin = self.lin
        if isinstance(getattr(lin, "weight", None), UninitializedParameter):
            lin.initialize_parameters(lin, (x if isinstance(x, Tensor) else torch.empty(0, width(x)),))
        if type(lin).forward not in (Linear.forward, ChannelLinear.forward) or hooked(lin) or lin.bias is not None:
            return None
        return lin.weight, None if isinstance(lin, Linear) else lin.windows

    def __call__(self, x: Features, bias: Tensor | None = None, activation: str | None = None) -> Tensor:
        parts = self.parts(x)
        if parts is None:
            return activate(self.lin(x.to_dense() if is_sparse(x) else x), bias, activation)
        return transform(x, *parts, bias, activation)


class JoinedTransform:
    """The filters of several layers as one transform."""

    def __init__(self, weight: Tensor, windows: ChannelWindows | None):
        self.weight, self.windows, self.out_channels = weight, windows, weight.size(0)

    def parts(self, x: Features) -> tuple[Tensor, ChannelWindows | None]:
        return self.weight, self.windows

    def __call__(self, x: Features, bias: Tensor | None = None, activation: str | None = None) -> Tensor:
        return transform(x, self.weight, self.windows, bias, activation)


Transform = LinearTransform | JoinedTransform


def transform(
    x: Features, weight: Tensor, windows: ChannelWindows | None, bias: Tensor | None, activation: str | None
) -> Tensor:
    """X Wᵀ of dense or sparse features; ``windows`` are None for a dense weight."""
    if is_sparse(x) and windows is None:
        return activate(sparse_linear(x, weight), bias, activation)
    x = x.to_dense() if is_sparse(x) else x
    if windows is None and torch.compiler.is_compiling():  # which traces a plain product better than our windows
        y = F.linear(x, weight, bias)
        return y if activation is None else y.relu()
    return channel_transform(x, weight, windows or _dense_windows(weight), bias, activation)


def _dense_windows(weight: Tensor) -> ChannelWindows:
    return _dense(weight.size(1), weight.size(0))


_dense = lru_cache(maxsize=256)(ChannelWindows.dense)


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
    product = known_product(graph, x, reduce)
    if product is None and aggregates_first(x, transform.out_channels, reduce):
        product = propagated(graph, x, reduce)
    if product is not None:
        return after(graph, product, transform, bias, activation, dropout)
    if reduce in ("sum", "mean") and (parts := _in_workspace(graph, x, transform)):
        matrix = graph if reduce == "sum" else graph.averaged()
        return transform_propagate(matrix, x, *parts, bias, activation, dropout)
    y = transform(x)
    return propagate(graph, y, reduce, bias=_like(bias, y), activation=activation, dropout=dropout)


def after(
    graph: Graph,
    product: Tensor,
    transform: Transform,
    bias: Tensor | None,
    activation: str | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """What is left to do with what was propagated first."""
    if parts := _in_workspace(graph, product, transform):
        return transform_activate(graph, product, *parts, bias, activation, dropout)
    if dropout == 0:
        return transform(product, bias, activation)
    y = transform(product)
    return activate(y, _like(bias, y), activation, dropout)


def linear(graph: Graph, x: Tensor, lin: nn.Module) -> Tensor:
    """``lin(x)``"""
    if not is_plain(lin) or not is_worth_it(graph, x):
        return lin(x)
    return _product(graph, x, lin.weight, lin.bias)


def linear_of_parts(graph: Graph, parts: Sequence[Features], lin: Linear) -> Tensor:
    """``lin`` of the parts side by side, which are not put together, nor is their gradient: each may be wide, or
    sparse."""
    weights = lin.weight.split([width(part) for part in parts], dim=1)
    first, *others = map(partial(_product, graph), parts, weights, (lin.bias, *[None] * (len(parts) - 1)))
    return sum(others, first)


def _product(graph: Graph, x: Features, weight: Tensor, bias: Tensor | None) -> Tensor:
    if is_sparse(x) or not is_worth_it(graph, x):
        return transform(x, weight, None, bias, None)
    return transform_activate(graph, x, weight, _dense_windows(weight), bias, None, 0.0)


def is_plain(lin: nn.Module) -> bool:
    """Whether a product with its weight is all that is expected of a layer."""
    return type(lin) is Linear and not hooked(lin)


def _in_workspace(graph: Graph, x: Features, transform: Transform) -> tuple[Tensor, ChannelWindows] | None:
    """Weight and windows where the layer is computed in memory that the graph keeps."""
    if is_sparse(x) or not is_worth_it(graph, x) or (parts := transform.parts(x)) is None:
        return None
    weight, windows = parts
    return weight, windows or _dense_windows(weight)


def product_of(graph: Graph, x: Tensor, reduce: str) -> Tensor:
    known = known_product(graph, x, reduce)
    return propagated(graph, x, reduce) if known is None else known


def known_product(graph: Graph, x: Features, reduce: str) -> Tensor | None:
    return kept_product(graph, x) if reduce == "sum" else None


def propagated(graph: Graph, x: Tensor, reduce: str) -> Tensor:
    if reduce in ("sum", "mean") and is_worth_it(graph, x):
        return propagate_large(graph if reduce == "sum" else graph.averaged(), x)
    return propagate(graph, x, reduce)


def aggregates_first(x: Features, out_channels: int, reduce: str) -> bool:
    """Whether fewer columns pass through the matrix, forward and backward, before the transform than after it."""
    if is_sparse(x) or reduce in ("max", "min"):
        return False
    backward = torch.is_grad_enabled()  # then the weights have a gradient, for which it propagates even if x has none
    return x.size(-1) * (1 + (backward and x.requires_grad)) < out_channels * (1 + backward)


def _like(bias: Tensor | None, y: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(y.dtype)
