import copy

import graphs
import pytest
import torch
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from multipath_gcn.graph import Graph

WEIGHT = torch.linspace(0.5, 2.0, graphs.MULTI.size(1))


def dense(graph: Graph) -> torch.Tensor:
    matrix = torch.zeros(graph.shape, dtype=torch.float64)
    return matrix.index_put_((graph.row, graph.col), graph.value.double(), accumulate=True)


@pytest.mark.parametrize("edges", ["SIMPLE", "MULTI"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", graphs.forms(graphs.SIMPLE))
def test_every_form_means_the_same_matrix(form, weighted, edges):
    edge_index = getattr(graphs, edges)
    weight = WEIGHT[: edge_index.size(1)] if weighted else None
    graph = Graph.normalized(*graphs.forms(edge_index, weight)[form], num_nodes=graphs.N)
    torch.testing.assert_close(dense(graph), graphs.dense(edge_index, weight), rtol=1e-6, atol=1e-7)
    assert torch.equal(
        graph.row * graphs.N + graph.col, (graph.row * graphs.N + graph.col).unique()
    )  # sorted, once each


def test_is_pygs_normalisation_on_simple_graphs():
    edge_index, value = gcn_norm(graphs.SIMPLE, num_nodes=graphs.N)
    theirs = torch.zeros(graphs.N, graphs.N).index_put_((edge_index[1], edge_index[0]), value)
    ours = dense(Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N))
    torch.testing.assert_close(ours.float(), theirs)


def test_symmetric_graph_is_its_own_transpose_and_a_directed_one_is_not():
    both = torch.cat([graphs.SIMPLE, graphs.SIMPLE.flip(0)], dim=1)
    undirected = Graph.normalized(both, num_nodes=graphs.N)
    assert undirected.symmetric and undirected.transpose() is undirected
    weight = torch.rand(both.size(1))
    assert not Graph.normalized(both, weight, num_nodes=graphs.N).symmetric
    directed = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N)
    assert not directed.symmetric and directed.transpose() is directed.transpose()
    torch.testing.assert_close(dense(directed.transpose().transpose()), dense(directed))
    torch.testing.assert_close(dense(directed.transpose()), dense(directed).T)


@pytest.mark.parametrize("edges", ["SIMPLE", "MULTI"])
def test_operands_are_of_the_type_that_sums_are_kept_in(edges):
    graph = Graph.normalized(getattr(graphs, edges), num_nodes=6, dtype=torch.float64)
    assert (graph.weight is None) == (edges == "SIMPLE")  # without parallel edges no values are stored
    for dtype, wide in (
        ("float64", "float64"),
        ("float32", "float32"),
        ("bfloat16", "float32"),
        ("float16", "float32"),
    ):
        _, _, weight, row_scale, col_scale, *_ = graph.operands(getattr(torch, dtype))
        found = {t.dtype for t in (weight, row_scale, col_scale) if t is not None}
        assert found == {getattr(torch, wide)}
    assert graph.col.dtype == graph.rowptr.dtype == torch.int32


@pytest.mark.parametrize("num_nodes", [0, 1, 4])
def test_graph_without_edges_is_the_identity(num_nodes):
    graph = Graph.normalized(torch.empty(2, 0, dtype=torch.long), num_nodes=num_nodes)
    torch.testing.assert_close(dense(graph), torch.eye(num_nodes, dtype=torch.float64))


def test_a_node_whose_weights_cancel_gets_zeros():
    loops = torch.tensor([[0, 0, 1], [0, 0, 0]])
    graph = Graph.normalized(loops, torch.tensor([1.0, -1.0, 0.0]), num_nodes=2)
    assert torch.equal(dense(graph), torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64))


def test_prepared_graph_passes_through():
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=6)
    assert Graph.normalized(graph, num_nodes=6) is graph
    assert repr(graph) == "Graph(6x6, 15 entries, cpu)"
    assert graph.to("cpu").symmetric == graph.symmetric


@pytest.mark.parametrize(
    ("adjacency", "weight", "message"),
    [
        (torch.tensor([[0, 6], [1, 2]]), None, r"edge_index must hold node ids in \[0, 6\), got \[0, 6\]"),
        (torch.tensor([[0, -1], [1, 2]]), None, r"edge_index must hold node ids in \[0, 6\), got \[-1, 0\]"),
        (torch.tensor([0, 1]), None, r"edge_index must have shape \[2, E\], got \[2\]"),
        (torch.rand(2, 3), None, "edge_index must hold integers, got torch.float32"),
        (graphs.SIMPLE, torch.ones(3), r"edge_weight must have shape \[9\], got \[3\]"),
        (graphs.SIMPLE, -2 * torch.ones(9), "edge_weight must give every node a degree >= 0, got -5"),
        (graphs.SIMPLE, torch.tensor([1.0] * 8 + [torch.inf]), "edge_weight must be finite, got inf at edge 8"),
        (graphs.SIMPLE, [1.0] * 9, "edge_weight must be a dense tensor or None, got list"),
        (graphs.SIMPLE, torch.ones(9).to_sparse(), "edge_weight must be a dense tensor or None, got torch.sparse_coo"),
        ("edges", None, "edge_index must be a tensor or a Graph, got str"),
        (torch.eye(5).to_sparse(), None, r"adj_t must have shape \[6, 6\], got \[5, 5\]"),
        (torch.eye(6).to_sparse(), torch.ones(6), "edge_weight must be None with a sparse adj_t"),
        (Graph.normalized(graphs.SIMPLE, num_nodes=6), torch.ones(9), "edge_weight must be None with a Graph"),
        (
            Graph.normalized(graphs.SIMPLE[:, :2], num_nodes=5),
            None,
            "graph must have 6 source nodes, as x has rows, got 5",
        ),
    ],
)
def test_refuses(adjacency, weight, message):
    with pytest.raises(ValueError, match=message):
        Graph.normalized(adjacency, weight, num_nodes=6)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["coo", "csr", "edge_weight"])
def test_narrow_weights_are_summed_as_floats(form, dtype):
    leaves = torch.arange(1, 400)
    edge_index = torch.stack([leaves, torch.zeros_like(leaves)])
    weight = torch.ones(399).to(dtype)
    adjacency, edge_weight = edge_index, weight
    if form != "edge_weight":
        adjacency = torch.sparse_coo_tensor(edge_index.flip(0), weight, (400, 400), is_coalesced=True)
        adjacency, edge_weight = adjacency if form == "coo" else adjacency.to_sparse_csr(), None
    found = Graph.normalized(adjacency, edge_weight, num_nodes=400)
    expected = Graph.normalized(edge_index, num_nodes=400)
    torch.testing.assert_close(found.value, expected.value)
    assert found.weight is None


@pytest.mark.parametrize("form", graphs.SPARSE)
def test_gradients_reach_the_values_of_a_sparse_adjacency(form):
    grads = []
    for sparse in (True, False):
        weight = torch.linspace(0.5, 2, 9, requires_grad=True)
        adjacency = graphs.forms(graphs.SIMPLE, weight)[form] if sparse else (graphs.SIMPLE, weight)
        Graph.normalized(*adjacency, num_nodes=6).value.square().sum().backward()
        grads.append(weight.grad)
    torch.testing.assert_close(*grads)


def test_a_node_of_degree_zero_has_a_finite_gradient():
    weight = torch.tensor([0.0, 1.0], requires_grad=True)
    Graph.normalized(torch.tensor([[0, 1], [0, 1]]), weight, num_nodes=2).value.sum().backward()
    assert weight.grad.isfinite().all()


def test_nan_weights_are_refused():
    with pytest.raises(ValueError, match="edge_weight must be finite, got nan at edge 0"):
        Graph.normalized(graphs.SIMPLE, torch.full((9,), torch.nan), num_nodes=6)


def test_a_used_graph_can_be_copied():
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=6)
    graph.csr(torch.float32), graph.transpose()
    torch.testing.assert_close(dense(copy.deepcopy(graph)), dense(graph))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (dict(rowptr=[0, 1]), "rowptr must be a tensor, got list"),
        (dict(col=[0, 1]), "col must be a tensor, got list"),
        (dict(weight=[0.5] * 15), "weight must be a dense tensor, got list"),
        (dict(row_scale=torch.ones(6).to_sparse()), "row_scale must be a dense tensor, got torch.sparse_coo"),
        (dict(shape=6), r"shape must be a pair \(num_targets, num_sources\), got 6"),
        (dict(shape=(6, 6, 6)), r"shape must be a pair \(num_targets, num_sources\), got \(6, 6, 6\)"),
    ],
)
def test_parts_of_a_wrong_kind_are_refused_by_name(parts, message):
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=6)
    with pytest.raises(ValueError, match=message):
        Graph(**(dict(rowptr=graph.rowptr, col=graph.col) | parts))


def test_other_weights_must_be_a_tensor():
    with pytest.raises(ValueError, match="weight must be a dense tensor, got NoneType"):
        Graph.normalized(graphs.SIMPLE, num_nodes=6).with_weight(None)
