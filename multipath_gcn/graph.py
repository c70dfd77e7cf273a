r"""The adjacency as the layers see it: :math:`\hat{A}` in CSR, one row per target node, built once and reused.

Every input form is first reduced to the same list of (target, source, weight), so that equal graphs give equal
results whatever form they come in.  The rule for the special cases:

- parallel edges add their weights, self-loops included;
- a node that has a self-loop keeps its summed weight, every other node gets one of weight 1.

On simple graphs this is ``torch_geometric.nn.conv.gcn_conv.gcn_norm``, whose forms disagree with one another elsewhere.
"""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.typing import Adj, OptTensor, SparseTensor
from torch_geometric.utils import coalesce

Entries = tuple[Tensor, Tensor, Tensor]  # target, source, weight
_SPARSE_LAYOUTS = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)


def csr_tensor(rowptr: Tensor, col: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    """``torch.sparse_csr_tensor`` of parts known to be valid, without the note that its support is in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(rowptr, col, value, shape, check_invariants=False)


class Graph:
    r"""A weighted adjacency matrix of shape [num_targets, num_sources] in CSR.

    Layers accept it wherever PyG takes ``edge_index``; build it with :meth:`normalized`.

    Args:
        rowptr: int64 [num_targets + 1], where the entries of each row begin.
        col: int64 [nnz], the source node of each entry.
        value: floating [nnz], the weight of each entry.
        shape: (num_targets, num_sources).
        symmetric: whether the matrix equals its transpose, so that backward can reuse it.
    """

    def __init__(self, rowptr: Tensor, col: Tensor, value: Tensor, shape: tuple[int, int], symmetric: bool = False):
        self.rowptr, self.col, self.value = rowptr, col, value
        self.shape, self.symmetric = shape, symmetric
        self._transpose: Graph | None = self if symmetric else None
        self._csr: dict[torch.dtype, Tensor] = {}

    @classmethod
    def normalized(
        cls,
        adjacency: "Adj | Graph",
        edge_weight: OptTensor = None,
        *,
        num_nodes: int,
        dtype: torch.dtype = torch.float32,
    ) -> "Graph":
        r"""The symmetric normalisation :math:`\hat{A} = D^{-1/2} (A + I) D^{-1/2}` of
        `Kipf and Welling <https://arxiv.org/abs/1609.02907>`_.

        :math:`D_{ii}` is the row sum of :math:`A + I`; loops and parallel edges follow the rule at the file's head.

        Args:
            adjacency: ``edge_index`` [2, E] (source, target), ``EdgeIndex``, or a transposed adjacency ``adj_t``
                [N, N] as ``torch.sparse`` tensor or ``SparseTensor``. A ``Graph`` is returned as it is.
            edge_weight: [E] weights of ``edge_index``; an ``adj_t`` carries its own.
            num_nodes: N.
            dtype: type of the values, float32 at least, where the input brings no weights of its own.

        Raises:
            ValueError: for a wrong shape, a node id outside [0, N), weights beside an ``adj_t``, or a negative degree.
        """
        if isinstance(adjacency, Graph):
            _check_prepared(adjacency, edge_weight, num_nodes)
            return adjacency
        row, col, weight = _entries(adjacency, edge_weight, num_nodes, torch.promote_types(dtype, torch.float32))
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))  # sums of bool or half would be wrong
        (row, col), weight = coalesce(torch.stack([row, col]), weight, num_nodes, reduce="sum")
        bare = torch.ones(num_nodes, dtype=torch.bool, device=row.device)
        bare[row[row == col]] = False
        loops = bare.nonzero().view(-1)
        row, col = torch.cat([row, loops]), torch.cat([col, loops])
        weight = torch.cat([weight, weight.new_ones(loops.numel())])

        order = (row * num_nodes + col).argsort()
        row, col, weight = row[order], col[order], weight[order]
        degree = weight.new_zeros(num_nodes).index_add(0, row, weight)
        if not (degree >= 0).all():
            raise ValueError(f"edge_weight must give every node a degree >= 0, got {degree.min().item():g}")
        bare = degree == 0
        scale = degree.masked_fill(bare, 1.0).rsqrt().masked_fill(bare, 0.0)
        value = weight * (scale[row] * scale[col])  # this order is symmetric to the last bit
        return cls(_rowptr(row, num_nodes), col, value, (num_nodes, num_nodes), _is_symmetric(row, col, weight))

    @property
    def num_entries(self) -> int:
        return self.col.numel()

    @property
    def row(self) -> Tensor:
        """int64 [nnz], the target node of each entry."""
        return torch.repeat_interleave(self.rowptr.diff(), output_size=self.num_entries)

    def transpose(self) -> "Graph":
        """The transposed matrix, built at the first call and kept."""
        if self._transpose is None:
            order = self.col.argsort(stable=True)
            rowptr = _rowptr(self.col[order], self.shape[1])
            flipped = Graph(rowptr, self.row[order], self.value[order], self.shape[::-1])
            self._transpose, flipped._transpose = flipped, self
        return self._transpose

    def csr(self, dtype: torch.dtype) -> Tensor:
        """The matrix as a constant ``torch.sparse_csr`` tensor of type ``dtype``, made at the first call."""
        if dtype not in self._csr:
            self._csr[dtype] = csr_tensor(self.rowptr, self.col, self.value.detach().to(dtype), self.shape)
        return self._csr[dtype]

    def to(self, device: torch.device | str) -> "Graph":
        """The same graph on ``device``."""
        return Graph(self.rowptr.to(device), self.col.to(device), self.value.to(device), self.shape, self.symmetric)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_csr": {}}  # sparse_csr tensors cannot be copied, and are quickly made

    def __repr__(self) -> str:
        return f"Graph({self.shape[0]}x{self.shape[1]}, {self.num_entries} entries, {self.value.device})"


def _entries(adjacency: Adj, edge_weight: OptTensor, num_nodes: int, dtype: torch.dtype) -> Entries:
    """Every stored edge, in whatever form the graph came."""
    sparse = isinstance(adjacency, SparseTensor) or adjacency.layout in _SPARSE_LAYOUTS
    if sparse:
        if edge_weight is not None:
            raise ValueError("edge_weight must be None with a sparse adj_t, which carries its own weights")
        row, col, weight = _sparse_entries(adjacency, num_nodes, dtype)
    else:
        row, col, weight = _edge_list_entries(adjacency, edge_weight, dtype)
    if row.numel():
        low, high = min(row.min(), col.min()).item(), max(row.max(), col.max()).item()
        if low < 0 or high >= num_nodes:
            raise ValueError(f"edge_index must hold node ids in [0, {num_nodes}), got [{low}, {high}]")
    return row, col, weight


def _sparse_entries(adj_t: Adj, num_nodes: int, dtype: torch.dtype) -> Entries:
    shape = tuple(adj_t.sizes()) if isinstance(adj_t, SparseTensor) else tuple(adj_t.shape)
    if shape != (num_nodes, num_nodes):
        raise ValueError(f"adj_t must have shape [{num_nodes}, {num_nodes}], got {list(shape)}")
    if isinstance(adj_t, SparseTensor):
        row, col, value = adj_t.coo()
        return row, col, row.new_ones(row.numel(), dtype=dtype) if value is None else value
    coo = adj_t.to_sparse_coo()
    coo = coo.to(torch.promote_types(coo.dtype, torch.float32)).coalesce()
    return *coo.indices(), coo.values()


def _edge_list_entries(edge_index: Tensor, edge_weight: OptTensor, dtype: torch.dtype) -> Entries:
    if isinstance(edge_index, EdgeIndex):
        edge_index = edge_index.as_tensor()
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must have shape [2, E], got {list(edge_index.shape)}")
    if edge_index.is_floating_point() or edge_index.dtype == torch.bool:
        raise ValueError(f"edge_index must hold integers, got {edge_index.dtype}")
    source, target = edge_index.long()
    if edge_weight is None:
        edge_weight = torch.ones(source.numel(), dtype=dtype, device=source.device)
    if edge_weight.shape != source.shape:
        raise ValueError(f"edge_weight must have shape [{source.numel()}], got {list(edge_weight.shape)}")
    return target, source, edge_weight


def _check_prepared(graph: Graph, edge_weight: OptTensor, num_nodes: int) -> None:
    if edge_weight is not None:
        raise ValueError("edge_weight must be None with a Graph, which carries its own weights")
    if graph.shape[1] != num_nodes:
        raise ValueError(f"graph must have {num_nodes} source nodes, as x has rows, got {graph.shape[1]}")


def _rowptr(sorted_row: Tensor, num_rows: int) -> Tensor:
    count = torch.bincount(sorted_row, minlength=num_rows)
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _is_symmetric(row: Tensor, col: Tensor, weight: Tensor) -> bool:
    order = col.argsort(stable=True)  # rows ascend within a column, as columns do within a row
    return bool(torch.equal(col[order], row) and torch.equal(row[order], col) and torch.equal(weight[order], weight))
