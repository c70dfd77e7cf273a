r"""The adjacency as the layers see it: a sparse matrix in CSR, one row per target node, built once and reused.

Every input form is first reduced to the same list of (target, source, weight), so that equal graphs give equal
results whatever form they come in. The rule for the special cases:

- parallel edges add their weights, self-loops included;
- where loops are added, a node that has one keeps its summed weight, every other node gets one.

On simple graphs this is ``torch_geometric.nn.conv.gcn_conv.gcn_norm``, whose forms disagree with one another elsewhere.
"""

from typing import Any, SupportsIndex

import torch
from torch import Tensor
from torch_geometric.typing import Adj, OptTensor

from multipath_gcn.graph import csr, normalize, order
from multipath_gcn.graph.forms import Shape, csr_tensor, read
from multipath_gcn.graph.products import Products
from multipath_gcn.graph.versions import lasting, versions
from multipath_gcn.graph.workspace import Workspace

_FIXED = ("rowptr", "col", "weight", "shape", "row_scale", "col_scale")


class Graph:
    r"""A sparse matrix :math:`A_{ij} = r_i \, w_e \, c_j` of shape [num_targets, num_sources], e the entry (i, j).

    Layers accept it wherever PyG takes ``edge_index``; build it with :meth:`normalized` or :meth:`from_adjacency`, or
    from CSR:

    Args:
        rowptr: int32 or int64 [num_targets + 1], where the entries of each row begin.
        col: of the same type [nnz], the source node of each entry, strictly ascending within a row.
        weight: floating [nnz], w; ``None`` counts as 1.
        shape: (num_targets, num_sources); ``None`` for a square matrix.
        row_scale: floating [num_targets], r; ``None`` counts as 1.
        col_scale: floating [num_sources], c; ``None`` counts as 1.
        symmetric: the caller's promise that the matrix equals its transpose, which backward then takes for it; it is
            believed, not checked. :meth:`normalized` and :meth:`from_adjacency` find it out.

    Attributes:
        rank: int64 [N], where a node stands inside a graph that was :meth:`reordered`, else ``None``.

    What is made of a graph is kept until one of its arrays is changed in place, which PyTorch counts. Not counted, and
    not noticed, is what is written through ``.data``, NumPy or another library, nor another ``rowptr`` or ``col``
    under a compiled function, which sees other weights and scales. Other arrays are another graph: none can be
    assigned, but :meth:`with_weight` makes one.

    Raises:
        ValueError: for parts that are no such matrix.
    """

    def __init__(
        self,
        rowptr: Tensor,
        col: Tensor,
        weight: OptTensor = None,
        shape: Shape | None = None,
        *,
        row_scale: OptTensor = None,
        col_scale: OptTensor = None,
        symmetric: bool = False,
    ):
        for name, tensor in (("rowptr", rowptr), ("col", col)):
            if not isinstance(tensor, Tensor):
                raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if shape is not None and (not isinstance(shape, tuple | list) or len(shape) != 2):
            raise ValueError(f"shape must be a pair (num_targets, num_sources), got {shape!r}")
        shape = (rowptr.numel() - 1,) * 2 if shape is None else (int(shape[0]), int(shape[1]))
        csr.check(rowptr, col, shape)
        sizes = {
            "weight": (weight, col.numel()),
            "row_scale": (row_scale, shape[0]),
            "col_scale": (col_scale, shape[1]),
        }
        for name, (values, size) in sizes.items():
            if values is not None:
                _check_values(name, values, size, rowptr.device)
        if symmetric and shape[0] != shape[1]:
            raise ValueError(f"symmetric must be False for shape {list(shape)}, got True")
        self._hold(rowptr, col, weight, shape, row_scale, col_scale, symmetric)

    @classmethod
    def _of(cls, *parts: Any) -> "Graph":
        """From parts known to fit: rowptr, col, weight, shape, row_scale, col_scale, symmetric."""
        graph = cls.__new__(cls)
        graph._hold(*parts)
        return graph

    def _hold(self, rowptr, col, weight, shape, row_scale, col_scale, symmetric) -> None:
        self.rowptr, self.col, self.weight, self.shape = rowptr.contiguous(), col.contiguous(), weight, shape
        self.row_scale, self.col_scale, self._symmetric = row_scale, col_scale, symmetric
        self.rank: Tensor | None = None
        self._order: Tensor | None = None
        self._built = self.state
        self._made: dict[Any, Any] = {}  # what was made of these arrays, as they were at `_made_of`
        self._made_of = self._built
        self._structure = csr.Structure()
        self.workspace = Workspace()
        self.products = Products()

    def __setattr__(self, name: str, value: Any) -> None:
        # `graph.weight *= 2` puts the array back in its place
        if name in _FIXED and self.__dict__.get(name, value) is not value:
            raise AttributeError(f"{name} of a Graph cannot be assigned: with_weight() or Graph(...) makes another one")
        super().__setattr__(name, value)

    @classmethod
    def normalized(
        cls,
        adjacency: "Adj | Graph",
        edge_weight: OptTensor = None,
        *,
        num_nodes: int | tuple[int, int],
        dtype: torch.dtype = torch.float32,
        self_loops: float | None = 1.0,
    ) -> "Graph":
        r"""The symmetric normalisation :math:`\hat{A} = D^{-1/2} (A + I) D^{-1/2}` of
        `Kipf and Welling <https://arxiv.org/abs/1609.02907>`_.

        :math:`D_{ii}` is the row sum of :math:`A + I`; loops and parallel edges follow the rule at the file's head. A
        graph without weights and parallel edges is stored without values: :math:`r = c = \mathrm{diag}(D^{-1/2})`.

        Args:
            adjacency: ``edge_index`` [2, E] (source, target), ``EdgeIndex``, or a transposed adjacency ``adj_t``
                [N, N] as ``torch.sparse`` tensor or ``SparseTensor``. A ``Graph`` is returned as it is.
            edge_weight: [E] weights of ``edge_index``; an ``adj_t`` carries its own.
            num_nodes: N; or (sources, targets) of a bipartite graph, which gets no loops and is scaled by the sums of
                its rows and of its columns.
            dtype: of the values, float32 at least, where parallel edges or loops give a graph without weights values.
            self_loops: weight of the added loops, or ``None`` to add none.

        Raises:
            ValueError: for a wrong shape, a node id out of range, weights beside an ``adj_t``, weights that are not
                finite, or a negative degree.
        """
        if isinstance(adjacency, Graph):
            _check_prepared(adjacency, edge_weight, num_nodes)
            return adjacency
        shape, wide = _shape(num_nodes), torch.promote_types(dtype, torch.float32)
        entries = read(adjacency, edge_weight, shape)
        if not isinstance(num_nodes, tuple) and self_loops is not None:
            entries = normalize.with_loops(entries, num_nodes, float(self_loops), wide)
        rowptr, col, weight = csr.compressed(entries, shape)
        if weight is not None and entries[2] is None:
            weight = weight.to(wide)
        row_scale, col_scale = normalize.inverse_roots((rowptr, col, weight), shape[1])
        if not isinstance(num_nodes, tuple):
            col_scale = row_scale
        symmetric = shape[0] == shape[1] and _is_symmetric(rowptr, col, weight, shape)
        if weight is not None:
            weight, row_scale, col_scale = normalize.scaled((rowptr, col, weight), row_scale, col_scale), None, None
        return cls._of(rowptr, col, weight, shape, row_scale, col_scale, symmetric)

    @classmethod
    def from_adjacency(
        cls, adjacency: "Adj | Graph", edge_weight: OptTensor = None, *, num_nodes: int | tuple[int, int]
    ) -> "Graph":
        """The matrix of the edges as they are: no loops added, nothing normalised.

        Arguments and errors are those of :meth:`normalized`.
        """
        if isinstance(adjacency, Graph):
            _check_prepared(adjacency, edge_weight, num_nodes)
            return adjacency
        shape = _shape(num_nodes)
        rowptr, col, weight = csr.compressed(read(adjacency, edge_weight, shape), shape)
        symmetric = shape[0] == shape[1] and _is_symmetric(rowptr, col, weight, shape)
        return cls._of(rowptr, col, weight, shape, None, None, symmetric)

    @property
    def num_entries(self) -> int:
        return self.col.numel()

    @property
    def device(self) -> torch.device:
        return self.col.device

    @property
    def symmetric(self) -> bool:
        """Whether the matrix is known to equal its transpose: found when it was built, void once it is changed."""
        now = self.state
        return self._symmetric and (now == self._built if now is not None else self.weight is None)

    @property
    def requires_grad(self) -> bool:
        return self.weight is not None and self.weight.requires_grad

    @property
    def row(self) -> Tensor:
        """int64 [nnz], the target node of each entry."""
        return csr.rows_of(self.rowptr, self.num_entries)

    @property
    def edge_index(self) -> Tensor:
        """int64 [2, nnz], source and target of each entry as the caller numbers the nodes."""
        ids = torch.stack([self.col.long(), self.row])
        return ids if self._order is None else self._order[ids]

    @property
    def value(self) -> Tensor:
        """[nnz], the matrix's value at each entry."""
        wide = [t for t in (self.weight, self.row_scale, self.col_scale) if t is not None]
        value = torch.ones(self.num_entries, dtype=wide[0].dtype if wide else torch.float32, device=self.device)
        if self.row_scale is not None:
            value = value * self.row_scale[self.row]
        if self.col_scale is not None:
            value = value * self.col_scale[self.col.long()]
        return value if self.weight is None else self.weight * value.to(self.weight.dtype)

    def with_weight(self, weight: Tensor) -> "Graph":
        """The same entries with other weights [nnz]; what is known of their places is shared."""
        _check_values("weight", weight, self.num_entries, self.device)
        return self._at_same_places(weight, self.row_scale, self.col_scale)._ordered_as(self)

    def _at_same_places(
        self, weight: OptTensor, row_scale: OptTensor, col_scale: OptTensor, symmetric=False
    ) -> "Graph":
        graph = Graph._of(self.rowptr, self.col, weight, self.shape, row_scale, col_scale, symmetric)
        graph._structure = self._structure
        return graph

    def to_dense(self) -> Tensor:
        """The matrix with all its zeros."""
        value, (col, row) = self.value, self.edge_index
        return value.new_zeros(self.shape).index_put((row, col), value)

    def transpose(self) -> "Graph":
        """The transposed matrix, built at the first call and kept."""
        return self if self.symmetric else self._keep("transpose", self._transposed)

    def _transposed(self) -> "Graph":
        rowptr, col, entry = self._structure.of(self.rowptr, self.col, self.shape)
        weight = None if self.weight is None else self.weight[entry]
        parts = rowptr, col, weight, self.shape[::-1], self.col_scale, self.row_scale, False
        return Graph._of(*parts)._ordered_as(self)

    def averaged(self) -> "Graph":
        """The matrix with every row divided by the number of its entries."""
        return self._keep("averaged", self._averaged)

    def _averaged(self) -> "Graph":
        scale = self.rowptr.diff().clamp(min=1).double().reciprocal()
        scale = scale if self.row_scale is None else scale * self.row_scale
        return self._at_same_places(self.weight, scale, self.col_scale)._ordered_as(self)

    def operands(self, dtype: torch.dtype, gradient: bool = True) -> tuple[Tensor | None, ...]:
        """The matrix as operators take it for features of a type: rowptr, col, weight, row_scale, col_scale.

        With ``gradient`` its transpose follows, else three times ``None``: rowptr, col, weight.
        """
        wide = torch.promote_types(dtype, torch.float32)
        return self._keep((wide, gradient), lambda: self._operands(wide, gradient))

    def _operands(self, wide: torch.dtype, gradient: bool) -> tuple[Tensor | None, ...]:
        scales = [None if t is None else t.to(wide) for t in (self.row_scale, self.col_scale)]
        weight = None if self.weight is None else self.weight.to(wide)
        if not gradient:
            return self.rowptr, self.col, weight, *scales, None, None, None
        if self.symmetric:
            return self.rowptr, self.col, weight, *scales, self.rowptr, self.col, weight
        other = self.transpose()
        return (
            self.rowptr,
            self.col,
            weight,
            *scales,
            other.rowptr,
            other.col,
            None if weight is None else other.weight.to(wide),
        )

    def csr(self, dtype: torch.dtype) -> Tensor:
        """The matrix as a constant ``torch.sparse_csr`` tensor of type ``dtype``."""
        return csr_tensor(self.rowptr, self.col, self.value.detach().to(dtype), self.shape)

    def reordered(self, by: str | Tensor = "rcm") -> "Graph":
        """The same graph with nodes that are neighbours near one another in memory.

        Kept internal: operators and layers take and give features in the caller's order. What it brings depends on the
        graph: measure it.

        Args:
            by: ``"rcm"`` (reverse Cuthill-McKee), ``"degree"`` (largest first), or int64 [N]: the nodes in their new
                order.
        """
        if self.rank is not None:
            raise ValueError("the graph must not be reordered already, got one that is")
        nodes = order.nodes_in_order(by, self)
        inner, rank = order.permuted(self, nodes)
        graph = Graph._of(*inner)
        graph.rank, graph._order = rank, nodes
        return graph

    def _ordered_as(self, other: "Graph") -> "Graph":
        self.rank, self._order = other.rank, other._order
        return self

    def take(self, rows: Tensor) -> "Graph":
        """The matrix of the rows with these numbers (int64).

        Raises:
            ValueError: for a graph that was :meth:`reordered`.
        """
        if self.rank is not None:
            raise ValueError("rows must be taken before the graph is reordered, got a reordered graph")
        return Graph._of(*order.with_rows(self, rows))

    def enter(self, x: "Tensor | Graph") -> "Tensor | Graph":
        """Features [..., N, F] in the caller's order, or a matrix of them, as the matrix has the nodes."""
        if self._order is None:
            return x
        return x.take(self._order) if isinstance(x, Graph) else x.index_select(-2, self._order)

    def leave(self, x: Tensor) -> Tensor:
        """Features [..., N, F] as the matrix has the nodes, in the caller's order."""
        return x if self.rank is None else x.index_select(-2, self.rank)

    @property
    def inner(self) -> "Graph":
        """The matrix for features that have entered."""
        return self if self.rank is None else self._keep("inner", self._inner)

    def _inner(self) -> "Graph":
        return self._at_same_places(self.weight, self.row_scale, self.col_scale, self.symmetric)

    def to(self, device: torch.device | str) -> "Graph":
        """The same graph on ``device``."""
        graph = Graph._of(*(part.to(device) if isinstance(part, Tensor) else part for part in self._parts()))
        if self.rank is not None:
            graph.rank, graph._order = self.rank.to(device), self._order.to(device)
        return graph

    @property
    def state(self) -> tuple | None:
        """What results made of this matrix are bound to: its tensors' counts of changes, if all keep one."""
        return versions(self.rowptr, self.col, self.weight, self.row_scale, self.col_scale)

    def _keep(self, key: Any, make: Any) -> Any:
        """What ``make`` returns, kept until an array is changed in place."""
        if self.requires_grad:  # it belongs to one backward pass
            return make()
        now = self.state
        if now is None:  # inside a trace, for one: what was made before may be of other values
            return make()
        if now != self._made_of:
            self._made, self._made_of = {}, now
        if key not in self._made:
            self._made[key] = lasting(make)
        return self._made[key]

    def _parts(self) -> tuple:
        return self.rowptr, self.col, self.weight, self.shape, self.row_scale, self.col_scale, self.symmetric

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self._parts(), "order": (self.rank, self._order)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._hold(*state["parts"])
        self.rank, self._order = state["order"]

    def __repr__(self) -> str:
        order_ = ", reordered" if self.rank is not None else ""
        return f"Graph({self.shape[0]}x{self.shape[1]}, {self.num_entries} entries{order_}, {self.device})"


def _shape(num_nodes: int | tuple[int, int]) -> Shape:
    """(targets, sources) of N, or of PyG's (sources, targets)."""
    counts = num_nodes if isinstance(num_nodes, tuple) else (num_nodes,) * 2
    if len(counts) != 2 or not all(isinstance(count, SupportsIndex) and count >= 0 for count in counts):
        raise ValueError(f"num_nodes must be a number of nodes or a pair (sources, targets), got {num_nodes!r}")
    return (int(num_nodes[1]), int(num_nodes[0])) if isinstance(num_nodes, tuple) else (int(num_nodes),) * 2


def _is_symmetric(rowptr: Tensor, col: Tensor, weight: OptTensor, shape: Shape) -> bool:
    rowptr_t, col_t, entry = csr.transposed(rowptr, col, shape)
    same = torch.equal(rowptr_t, rowptr) and torch.equal(col_t, col)
    return same and (weight is None or torch.equal(weight[entry], weight))


def _check_values(name: str, values: Tensor, size: int, device: torch.device) -> None:
    if not isinstance(values, Tensor) or values.layout is not torch.strided:
        got = values.layout if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{name} must be a dense tensor, got {got}")
    if not values.is_floating_point() or values.shape != (size,):
        raise ValueError(f"{name} must be floating of shape [{size}], got {values.dtype} {list(values.shape)}")
    if values.device != device:
        raise ValueError(f"{name} must be on the device of rowptr ({device}), got {values.device}")


def _check_prepared(graph: Graph, edge_weight: OptTensor, num_nodes: int | tuple[int, int]) -> None:
    if edge_weight is not None:
        raise ValueError("edge_weight must be None with a Graph, which carries its own weights")
    sources = num_nodes[0] if isinstance(num_nodes, tuple) else num_nodes
    if graph.shape[1] != sources:
        raise ValueError(f"graph must have {sources} source nodes, as x has rows, got {graph.shape[1]}")
