from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.typing import Adj, OptTensor

from multipath_gcn.graph import Graph, cache
from multipath_gcn.nn.convolve import is_plain, linear, linear_of_parts
from multipath_gcn.nn.gcn_block import GCNBlock
from multipath_gcn.nn.gcn_conv import GCNConv, check_features
from multipath_gcn.nn.hooks import hooked
from multipath_gcn.nn.inference import infer
from multipath_gcn.nn.path_sum import LINEAR
from multipath_gcn.nn.together import Together
from multipath_gcn.nn.transform import TRANSFORMS, check_options, check_widths, effective_options
from multipath_gcn.ops import combine
from multipath_gcn.ops.features import Features, dropout, is_sparse, num_nodes, read
from multipath_gcn.ops.graph_transform import is_followed, keeps_no_values

_COMBINE = ("sum", "mean", "max", "concat", "attention")
_READOUT = ("linear", "gcn")


class MultiPathGCN(nn.Module):
    r"""Parallel stacks of graph convolutions of different depth over a common stem, from
    `"Multipath Graph Convolutional Neural Networks" <https://arxiv.org/abs/2105.01510>`_.

    .. math::
        H &= (g_S \circ \dots \circ g_1)(X), \\
        Y &= f\Big(\bigoplus_{p=1}^{P} (g_{p, L_p} \circ \dots \circ g_{p, 1})(H)\Big), \qquad
        g(H) = \mathrm{dropout}(\sigma(\mathrm{norm}(\hat{A} H W^{\top} + b)))

    A stem of :math:`S` layers :math:`g` of width ``hidden_channels`` feeds :math:`P` paths; path :math:`p` has
    :math:`L_p` layers of the widths given, and :math:`L_p = 0` is the identity. :math:`f` is the readout.

    Args:
        in_channels: width of the input features, or -1 to take it from the first input seen.
        hidden_channels: width h of the stem.
        out_channels: number of classes or tasks.
        paths: one tuple of layer widths per path; the empty tuple is the identity.
            ``None`` means ``((h, h, h), (h // 2, h))``.
        stem: number S of common layers, 0 or more.
        combine: :math:`\bigoplus`. ``"sum"``, ``"mean"``, ``"max"`` over paths, ``"concat"``, or ``"attention"``:
            the sum weighted per node by a softmax over :math:`a^{\top} h_p` with a learned vector a.
        dropout: probability after every layer.
        input_dropout: probability on the input features.
        path_dropout: probability q that a training pass leaves a path out, :math:`H_p b_p / (1 - q)` with
            :math:`b_p \sim \mathrm{Bernoulli}(1 - q)`, of `"Deep Networks with Stochastic Depth"
            <https://arxiv.org/abs/1603.09382>`_. For ``"sum"``, ``"mean"`` and ``"concat"``.
        norm: ``None``, ``"batch"`` or ``"layer"``.
        residual: adds to every layer of equal widths its input.
        act: activation by name or as callable, as PyG resolves it.
        aggr: ``"add"``, ``"mean"`` or ``"max"``.
        readout: ``"linear"`` (:math:`f(H) = H W^{\top} + b`, the paper's) or ``"gcn"``
            (:math:`f(H) = \hat{A} H W^{\top} + b`, as in Kipf's two-layer network).
        transform: what W is in the layers of the paths: ``"dense"``, ``"grouped"`` or ``"sliding"``, as in
            :class:`~multipath_gcn.nn.GCNConv`. The readout is always dense.
        groups: 2 if ``None``; must be ``None`` where every transform is dense.
        overlap: 0.5 if ``None``; must be ``None`` where no transform is sliding.
        stem_transform: what W is in the stem; ``None`` means dense, which takes any ``in_channels``.
        recompute: keeps nothing of what lies inside a path for backward, but computes it there again with the same
            dropout (``torch.utils.checkpoint``). It takes more time, and less memory where several paths are long: the
            inside of one is held at a time, and two tensors more while it is computed again.

    The first layers of all paths read H and run as one transform and one propagation.

    Shapes:
        - **input:** node features :math:`(|\mathcal{V}|, F_{in})`, dense or ``torch.sparse_csr``,
          edge indices :math:`(2, |\mathcal{E}|)` or another adjacency form,
          edge weights :math:`(|\mathcal{E}|)` *(optional)*
        - **output:** :math:`(|\mathcal{V}|, F_{out})`, unnormalised scores

    Raises:
        ValueError: for an option or width outside the above, paths whose last widths differ although they are
            combined value by value, widths that ``groups`` does not divide, or an option that has no effect.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        paths: Sequence[Sequence[int]] | None = None,
        stem: int = 1,
        combine: str = "sum",
        *,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        path_dropout: float = 0.0,
        norm: str | None = None,
        residual: bool = False,
        act: str | Callable[..., Any] | None = "relu",
        aggr: str = "add",
        readout: str = "linear",
        transform: str = "dense",
        groups: int | None = None,
        overlap: Any = None,
        stem_transform: str | None = None,
        recompute: bool = False,
    ):
        super().__init__()
        h = hidden_channels
        _check_width("hidden_channels", h)
        _check_width("out_channels", out_channels)
        if in_channels != -1:
            _check_width("in_channels", in_channels)
        widths = _path_widths(((h, h, h), (h // 2, h)) if paths is None else paths)
        width = h if stem else in_channels
        _check(in_channels, widths, stem, combine, input_dropout, path_dropout, readout)
        transforms = {"transform": transform, "stem_transform": stem_transform or "dense"}
        _check_transforms(in_channels, h, widths, stem, **transforms, groups=groups, overlap=overlap)
        last = [path[-1] if path else width for path in widths]
        if combine != "concat" and len(set(last)) > 1:
            raise ValueError(f"paths must end in equal widths for combine={combine!r}, got {last}")

        self.in_channels, self.hidden_channels, self.out_channels = in_channels, h, out_channels
        self.width_of_paths_input = width
        self.path_widths, self.combine, self.input_dropout = widths, combine, input_dropout
        self.path_dropout, self.recompute = path_dropout, recompute
        options = dict(dropout=dropout, norm=norm, residual=residual, act=act, aggr=aggr)
        stem_options, path_options = (
            options | effective_options(transforms[name], groups, overlap) for name in ("stem_transform", "transform")
        )
        self.stem = _stack(in_channels, (h,) * stem, stem_options)
        self.paths = nn.ModuleList(_stack(width, path, path_options) for path in widths)
        self._together = Together([path[0] for path in self.paths if len(path)])
        self.transform_options = transforms | {"groups": groups, "overlap": overlap}
        combined = sum(last) if combine == "concat" else last[0]
        self.attention = Linear(combined, 1, bias=False) if combine == "attention" else None
        self.readout = (
            GCNConv(combined, out_channels, aggr=aggr)
            if readout == "gcn"
            else Linear(combined, out_channels, weight_initializer="glorot", bias_initializer="zeros")
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for block in [*self.stem, *(block for path in self.paths for block in path)]:
            block.reset_parameters()
        if self.attention is not None:
            self.attention.reset_parameters()
        self.readout.reset_parameters()

    def forward(self, x: Tensor, edge_index: Adj | Graph, edge_weight: OptTensor = None) -> Tensor:
        outputs, graph = self._outputs(x, edge_index, edge_weight)
        if self.path_dropout and self.training:
            outputs = [x * factor for x, factor in zip(outputs, self._kept(outputs[0]), strict=True)]
        if self._reads_parts():
            return linear_of_parts(graph, outputs, self.readout)
        return self._read(self._combined(outputs), graph)

    def _outputs(self, x: Tensor, edge_index: Adj | Graph, edge_weight: OptTensor) -> tuple[list[Tensor], Graph]:
        check_features(x)
        x = read(x)
        graph = cache.normalized(edge_index, edge_weight, num_nodes=num_nodes(x), dtype=_type(x))
        x = dropout(x, self.input_dropout, self.training)
        if is_sparse(x) and self._hands_features_on and not (self._reads_parts() and self.path_dropout == 0):
            x = x.to_dense()
        return self._path_outputs(_run(self.stem, x, graph), graph), graph

    def _path_outputs(self, x: Features, graph: Graph) -> list[Tensor]:
        first = [path[0] for path in self.paths if len(path)]
        known = dict(zip(first, self._together(first, x, graph) or (), strict=False))
        if len(known) == len(self.paths) and not any(block.residual for block in first):
            x = None  # its memory is free from here on
        run = partial(checkpoint, _run, use_reentrant=False) if self.recompute and torch.is_grad_enabled() else _run
        return [run(path, x, graph, known.pop(path[0], None) if len(path) else None) for path in self.paths]

    def path_scores(self, x: Tensor, edge_index: Adj | Graph, edge_weight: OptTensor = None) -> Tensor:
        r"""What the readout says of each path alone: :math:`f(P H_p)` where paths are added, :math:`f(H_p)` where their
        mean is taken, so that the mean over p is what a call returns.

        Shapes:
            - **input:** as of a call
            - **output:** :math:`(P, |\mathcal{V}|, F_{out})`

        Raises:
            ValueError: for paths combined otherwise.
        """
        check_has_path_scores(self.combine)
        outputs, graph = self._outputs(x, edge_index, edge_weight)
        scale = len(outputs) if self.combine == "sum" else 1
        return torch.stack([self._read(scale * output, graph) for output in outputs])

    @property
    def _hands_features_on(self) -> bool:
        """Whether the features themselves, wide or sparse as they may be, are what a path brings to the combination."""
        return not self.stem and () in self.path_widths

    def _reads_parts(self) -> bool:
        """Whether the readout reads paths side by side without a tensor that holds them all."""
        apart = self.combine == "concat" and self._hands_features_on
        return apart and is_plain(self.readout) and not is_followed()

    def _read(self, x: Tensor, graph: Graph) -> Tensor:
        return self.readout(x, graph) if isinstance(self.readout, GCNConv) else linear(graph, x, self.readout)

    def inference(
        self,
        graph: Adj | Graph,
        x: Features,
        edge_weight: OptTensor = None,
        *,
        memory_limit: int | str | None = None,
    ) -> Tensor:
        r"""The scores of the network in evaluation, layer by layer in place, within a stated amount of memory.

        Args:
            graph: as ``edge_index`` of a call.
            x: as in a call; left as it is.
            edge_weight: as in a call.
            memory_limit: bytes, or a string such as ``"6 GB"``, that the call may take beside what is there when it
                begins; ``None`` for as much as is fastest. Propagation goes over as many columns at a time as fit.

        Shapes:
            - **output:** :math:`(|\mathcal{V}|, F_{out})`

        Raises:
            ValueError: for a limit that is too small, with the least that would do, in training mode, or for a layer
                with hooks, which would not be called.
        """
        if self.training:
            raise ValueError("inference must be called in evaluation mode (model.eval()), got training mode")
        check_features(x)
        x = read(x)
        if len(x.shape) != 2:
            raise ValueError(f"x must have shape [N, F], got {list(x.shape)}")
        graph = cache.normalized(graph, edge_weight, num_nodes=num_nodes(x), dtype=_type(x))
        if graph.rank is not None:
            return graph.leave(infer(self, graph.inner, graph.enter(x), memory_limit))
        return infer(self, graph, x, memory_limit)

    def _kept(self, like: Tensor) -> Tensor:
        """[P], 0 for a path that is left out, else what makes up for those that are."""
        return like.new_empty(len(self.paths)).bernoulli_(1 - self.path_dropout) / (1 - self.path_dropout)

    def _combined(self, outputs: list[Tensor]) -> Tensor:
        if self.combine == "concat":
            return torch.cat(outputs, dim=-1)
        if self.combine == "sum" and len(outputs) == 2 and self._is_spare(0, outputs):
            return outputs[0].add_(outputs[1])
        if self.combine in ("sum", "mean"):
            return combine(outputs, 1.0 if self.combine == "sum" else 1 / len(outputs))
        stacked = torch.stack(outputs)
        if self.combine == "max":
            return stacked.amax(dim=0)
        return (self.attention(stacked).softmax(dim=0) * stacked).sum(dim=0)

    def _is_spare(self, p: int, outputs: list[Tensor]) -> bool:
        """Whether nobody needs what path p has computed but the sum, which may then take its place."""
        if not self.paths[p] or not keeps_no_values(outputs[p]) or len({output.dtype for output in outputs}) > 1:
            return False
        last = self.paths[p][-1]
        return type(last) is GCNBlock and "forward" not in vars(last) and not hooked(last, everywhere=True)

    def __repr__(self) -> str:
        given = {name: value for name, value in self.transform_options.items() if value not in (None, "dense")}
        return (
            f"{type(self).__name__}({self.in_channels}, {self.hidden_channels}, {self.out_channels}, "
            f"stem={len(self.stem)}, paths={self.path_widths}, combine={self.combine!r}"
            f"{''.join(f', {name}={value!r}' for name, value in given.items())})"
        )


def _stack(in_channels: int, widths: Sequence[int], options: dict[str, Any]) -> nn.ModuleList:
    return nn.ModuleList(GCNBlock(i, o, **options) for i, o in zip((in_channels, *widths), widths, strict=False))


def _run(blocks: nn.ModuleList, x: Features | None, graph: Graph, before_skip: Tensor | None = None) -> Features:
    """``before_skip`` of the first block, where that is known already; see :class:`GCNBlock`."""
    for block in blocks:
        x, before_skip = block(x, graph, before_skip), None
    return x


def check_has_path_scores(combine: str) -> None:
    if combine not in ("sum", "mean"):
        raise ValueError(f"combine must be 'sum' or 'mean' for scores of single paths, got {combine!r}")


def _type(x: Features) -> torch.dtype:
    return torch.float32 if is_sparse(x) else x.dtype


def _path_widths(paths: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    if not isinstance(paths, Sequence) or not all(isinstance(path, Sequence) for path in paths):
        raise ValueError(f"paths must be a sequence with a sequence of widths for each path, got {paths!r}")
    if not paths:
        raise ValueError("paths must hold at least one path, got none; the identity path is ()")
    for width in (width for path in paths for width in path):
        _check_width("every width in paths", width)
    return tuple(tuple(path) for path in paths)


def _check_width(name: str, width: int) -> None:
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {width!r}")


def _check(
    in_channels: int,
    paths: tuple[tuple[int, ...], ...],
    stem: int,
    combine: str,
    input_dropout: float,
    path_dropout: float,
    readout: str,
) -> None:
    if not isinstance(stem, int) or stem < 0:
        raise ValueError(f"stem must be 0 or more layers, got {stem!r}")
    if combine not in _COMBINE:
        raise ValueError(f"combine must be one of {list(_COMBINE)}, got {combine!r}")
    if readout not in _READOUT:
        raise ValueError(f"readout must be one of {list(_READOUT)}, got {readout!r}")
    for name, value in (("input_dropout", input_dropout), ("path_dropout", path_dropout)):
        if not isinstance(value, (int, float)) or not 0.0 <= value < 1.0:
            raise ValueError(f"{name} must lie in [0, 1), got {value!r}")
    if path_dropout and combine not in LINEAR:
        raise ValueError(f"path_dropout must be 0 for combine={combine!r}, got {path_dropout}")
    if in_channels == -1 and stem == 0 and () in paths:
        raise ValueError("in_channels must be known (got -1) where the identity path starts at the input (stem=0)")


def _check_transforms(
    in_channels: int,
    hidden_channels: int,
    paths: tuple[tuple[int, ...], ...],
    stem: int,
    transform: str,
    stem_transform: str,
    groups: int | None,
    overlap: Any,
) -> None:
    for name, chosen in (("transform", transform), ("stem_transform", stem_transform)):
        check_options(chosen, None, None, name)
    check_options(max(transform, stem_transform, key=TRANSFORMS.index), groups, overlap)
    if stem_transform != "dense" and stem == 0:
        raise ValueError(f"stem_transform must be None without a stem (stem=0), got {stem_transform!r}")
    if transform != "dense" and not any(paths):
        raise ValueError(f"transform must be 'dense' where no path has a layer (see stem_transform), got {transform!r}")
    layers = [("in_channels", in_channels), *[("hidden_channels", hidden_channels)] * stem]
    check_widths(layers, stem_transform, groups)
    for path in paths:
        check_widths([layers[-1], *(("every width in paths", width) for width in path)], transform, groups)
