"""A ``SparseTensor`` of torch-sparse is the matrix of its entries, as the same edges in another form are."""

import gc
import weakref

import graphs
import pytest
import torch

from multipath_gcn.graph import Graph, cache

pytest.importorskip("torch_sparse")
from torch_sparse import SparseTensor

N = graphs.N
SOURCES, TARGETS = 7, 4
BIPARTITE = torch.tensor([[0, 3, 6, 3, 1, 5, 3], [1, 0, 1, 2, 1, 2, 0]])  # 3 -> 0 twice; target 3 has none
WEIGHT = torch.linspace(-1, 2, graphs.MULTI.size(1), dtype=torch.float64)
MAKE = {"normalized": Graph.normalized, "from_adjacency": Graph.from_adjacency}
by_make = pytest.mark.parametrize("make", MAKE)


def sparse(edges, value=None, shape=(N, N)):
    return SparseTensor(row=edges[1], col=edges[0], value=value, sparse_sizes=shape)


def assert_same(found, expected):
    """In every array, not only in what they mean."""
    assert (found.shape, found.symmetric) == (expected.shape, expected.symmetric)
    for name in ("rowptr", "col", "weight", "row_scale", "col_scale"):
        got, want = getattr(found, name), getattr(expected, name)
        assert (got is None) == (want is None), name
        if got is not None:
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(cache, "_kept", type(cache._kept)())


@by_make
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("edges", ["SIMPLE", "MULTI"])
def test_is_the_graph_of_its_edges(edges, weighted, make):
    edges = getattr(graphs, edges)
    weight = WEIGHT[: edges.size(1)].abs() if weighted else None
    expected = MAKE[make](edges, weight, num_nodes=N)
    assert_same(MAKE[make](sparse(edges, weight), num_nodes=N), expected)
    assert_same(getattr(cache, make)(sparse(edges, weight), num_nodes=N), expected)


@by_make
@pytest.mark.parametrize("weighted", [False, True])
def test_bipartite(weighted, make):
    weight = torch.linspace(0.5, 2, BIPARTITE.size(1)) if weighted else None
    adj_t, sizes = sparse(BIPARTITE, weight, (TARGETS, SOURCES)), (SOURCES, TARGETS)
    expected = MAKE[make](BIPARTITE, weight, num_nodes=sizes)
    assert_same(MAKE[make](adj_t, num_nodes=sizes), expected)
    assert_same(getattr(cache, make)(adj_t, num_nodes=sizes), expected)
    with pytest.raises(ValueError, match=r"adj_t must have shape \[7, 4\], got \[4, 7\]"):
        MAKE[make](adj_t, num_nodes=sizes[::-1])


def test_however_it_was_made():
    adj_t = sparse(graphs.MULTI, WEIGHT)
    rowptr, col, value = adj_t.csr()
    expected = Graph.from_adjacency(graphs.MULTI, WEIGHT, num_nodes=N)
    for other in (
        SparseTensor(rowptr=rowptr, col=col, value=value, sparse_sizes=(N, N)),  # without rows, till they are asked for
        adj_t.t().t(),
        SparseTensor.from_edge_index(graphs.MULTI.flip(0), WEIGHT, (N, N)),
    ):
        assert_same(cache.from_adjacency(other, num_nodes=N), expected)
    assert_same(cache.from_adjacency(adj_t.t(), num_nodes=N), expected.transpose())
    loops = SparseTensor.eye(N)
    assert Graph.normalized(loops, num_nodes=N).to_dense().equal(torch.eye(N))
    assert cache.from_adjacency(loops, num_nodes=N).weight is None


@by_make
def test_without_entries(make):
    empty = torch.empty(2, 0, dtype=torch.long)
    assert_same(MAKE[make](sparse(empty), num_nodes=N), MAKE[make](empty, num_nodes=N))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float16])
def test_narrow_values_are_summed_as_floats(dtype):
    leaves = torch.arange(1, 400)
    edges = torch.stack([leaves, torch.zeros_like(leaves)])
    found = Graph.normalized(sparse(edges, torch.ones(399).to(dtype), (400, 400)), num_nodes=400)
    assert_same(found, Graph.normalized(edges, num_nodes=400))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((9,), torch.nan), "edge_weight must be finite, got nan at edge 0"),
        (torch.ones(9, dtype=torch.complex64), "edge_weight must be real, got torch.complex64"),
        (torch.ones(9, 2), r"adj_t must have shape \[6, 6\], got \[6, 6, 2\]"),
    ],
)
def test_refuses_values(value, message):
    for make in (Graph.normalized, cache.normalized):
        with pytest.raises(ValueError, match=message):
            make(sparse(graphs.SIMPLE, value), num_nodes=N)


def test_refuses_ids_that_were_trusted():
    ids = torch.tensor([0, 6])
    adj_t = SparseTensor(row=ids, col=ids, sparse_sizes=(N, N), is_sorted=True, trust_data=True)
    for make in (Graph.normalized, cache.normalized):
        with pytest.raises(ValueError, match=r"edge_index must hold node ids in \[0, 6\), got \[0, 6\]"):
            make(adj_t, num_nodes=N)


# What is kept for one can never answer for another.


def found(adj_t, make="from_adjacency", num_nodes=N, **options):
    """From the cache, and told whether it is what would be made anew."""
    graph = getattr(cache, make)(adj_t, num_nodes=num_nodes, **options)
    assert_same(graph, MAKE[make](adj_t, num_nodes=num_nodes, **options))
    return graph


def test_others_of_the_same_tensors_are_told_apart():
    order = (graphs.SIMPLE[1] * N + graphs.SIMPLE[0]).argsort()
    col, row = graphs.SIMPLE[:, order].clone()
    value = torch.rand(9)

    def of(value=value, shape=(N, N)):
        return SparseTensor(row=row, col=col, value=value, sparse_sizes=shape, is_sorted=True)

    assert of().coo()[2] is value  # the danger is there
    made = [
        found(of()),
        found(of(None)),
        found(of(value.clone())),
        found(of(), "normalized"),
        found(of(), "normalized", self_loops=2.0),
        found(of(shape=(N + 1, N + 1)), num_nodes=N + 1),
    ]
    assert len(set(map(id, made))) == len(made)
    assert found(of()) is made[0] and found(of(None)) is made[1]  # another object of the same matrix
    with pytest.raises(ValueError, match=r"adj_t must have shape \[6, 6\], got \[7, 7\]"):
        cache.from_adjacency(of(shape=(N + 1, N + 1)), num_nodes=N)
    with pytest.raises(ValueError, match="edge_weight must be None with a sparse adj_t"):
        cache.from_adjacency(of(None), value, num_nodes=N)
    with pytest.raises(ValueError, match="edge_index must have shape"):
        cache.from_adjacency(row, col, num_nodes=N)


def test_a_changed_one_is_another_graph():
    adj_t, dense = sparse(graphs.SIMPLE, torch.rand(9)), []
    changes = [
        lambda: None,
        lambda: adj_t.storage.value().mul_(3),
        lambda: adj_t.set_value_(torch.rand(9), layout="coo"),
        lambda: adj_t.set_value_(None),
        lambda: adj_t.storage.col()[:1].fill_(5),
    ]
    for change in changes:
        change()
        graph = found(adj_t)
        assert found(adj_t) is graph
        dense.append(graph.to_dense())
    assert not any(torch.equal(a, b) for i, a in enumerate(dense) for b in dense[:i])


def test_memory_of_a_freed_one_belongs_to_the_next():
    seen = set()
    for seed in range(30):
        edges = torch.randint(0, N, (2, 9), generator=torch.Generator().manual_seed(seed))
        adj_t = sparse(edges)
        seen.update(map(id, adj_t.coo()[:2]))
        found(adj_t)
        assert len(cache._kept) == 1
        del adj_t
        assert len(cache._kept) == 0
    assert len(seen) < 60  # the danger was there


@by_make
@pytest.mark.parametrize("weighted", [False, True])
def test_entries_die_with_it(weighted, make):
    adj_t = sparse(graphs.SIMPLE, torch.rand(9) if weighted else None)
    graph = weakref.ref(getattr(cache, make)(adj_t, num_nodes=N))
    assert len(cache._kept) == 1 and graph() is not None
    del adj_t
    gc.collect()
    assert len(cache._kept) == 0 and graph() is None


def test_one_that_needs_a_gradient_or_keeps_no_count_is_not_kept():
    found(sparse(graphs.SIMPLE, torch.rand(9, requires_grad=True)))
    with torch.inference_mode():
        uncounted = sparse(graphs.SIMPLE, torch.rand(9))
    found(uncounted)
    assert len(cache._kept) == 0
