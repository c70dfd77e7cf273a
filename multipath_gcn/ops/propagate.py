r"""y[i] = reduce_{j in row i} value[i, j] * x[j] over the stored entries of a :class:`~multipath_gcn.graph.Graph`."""

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from multipath_gcn.graph import Graph

REDUCTIONS = ("sum", "mean", "max")


def propagate(graph: Graph, x: Tensor, reduce: str = "sum") -> Tensor:
    r"""Aggregates the weighted features of each node's neighbours.

    .. math::
        y_i = \bigoplus_{j \in \mathcal{N}(i)} \hat{A}_{ij} \, x_j

    The mean divides by the number of stored entries of the row; an empty row gives 0.

    Args:
        graph: the matrix :math:`\hat{A}` of shape [N, M].
        x: node features (\*, M, F).
        reduce: ``"sum"``, ``"mean"`` or ``"max"``.

    Shapes:
        - **output:** (\*, N, F), of the type of ``x``.

    Raises:
        ValueError: for an unknown ``reduce``, or when ``x`` does not have M rows.
    """
    if reduce not in REDUCTIONS:
        raise ValueError(f"reduce must be one of {list(REDUCTIONS)}, got {reduce!r}")
    if x.dim() < 2 or x.size(-2) != graph.shape[1]:
        raise ValueError(f"x must have shape (*, {graph.shape[1]}, F), got {list(x.shape)}")
    if x.dim() > 2:  # one graph, many feature sets: the leading dimensions become columns
        columns = x.movedim(-2, 0)
        y = propagate(graph, columns.flatten(1), reduce)
        return y.unflatten(1, columns.shape[1:]).movedim(0, -2)
    if reduce == "max":
        return scatter(_messages(graph, x), graph.row, dim_size=graph.shape[0], reduce="max")
    if graph.value.requires_grad:
        y = scatter(_messages(graph, x), graph.row, dim_size=graph.shape[0], reduce="sum")
    else:
        y = _SparseSum.apply(graph, x)
    return y / graph.rowptr.diff().clamp(min=1).to(x.dtype).unsqueeze(1) if reduce == "mean" else y


def _messages(graph: Graph, x: Tensor) -> Tensor:
    return graph.value.to(x.dtype).unsqueeze(1) * x[graph.col]


class _SparseSum(torch.autograd.Function):
    """Sparse matrix times dense matrix. PyTorch's own backward would sort the transpose anew in every step."""

    @staticmethod
    def setup_context(ctx, inputs: tuple[Graph, Tensor], output: Tensor) -> None:
        ctx.graph = inputs[0]

    @staticmethod
    def forward(graph: Graph, x: Tensor) -> Tensor:
        matrix = graph.csr(x.dtype)
        # On CPU the reducing kernel is the faster one; CUDA only has the other.
        return torch.sparse.mm(matrix, x, "sum") if x.device.type == "cpu" else torch.sparse.mm(matrix, x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[None, Tensor]:
        return None, _SparseSum.apply(ctx.graph.transpose(), grad.contiguous())
