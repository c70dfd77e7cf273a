"""What is kept for a graph can never answer for another, nor outlive it."""

import copy
import gc
import weakref

import graphs
import numpy as np
import pytest
import torch
from torch_geometric import EdgeIndex

from multipath_gcn.graph import Graph, cache
from multipath_gcn.nn import GCNConv
from multipath_gcn.ops import keep_product, propagate
from multipath_gcn.ops.propagate import kept_product

N = graphs.N
UNDIRECTED = torch.cat([graphs.SIMPLE, graphs.SIMPLE.flip(0)], dim=1).unique(dim=1)


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    monkeypatch.setattr(cache, "_kept", type(cache._kept)())


def normalized(*args, **options):
    """From the cache, and told whether it is what would be made anew."""
    found, anew = cache.normalized(*args, num_nodes=N, **options), Graph.normalized(*args, num_nodes=N, **options)
    assert torch.equal(found.to_dense(), anew.to_dense()) and found.symmetric == anew.symmetric
    return found


@pytest.mark.parametrize("form", ["edge_index", "EdgeIndex", *graphs.SPARSE])
def test_the_same_tensors_are_found_again(form):
    args = graphs.forms(graphs.SIMPLE.clone())[form]
    assert normalized(*args) is normalized(*args)
    assert normalized(args[0].clone()) is not normalized(*args)


def test_edges_turned_round_are_another_graph_found_again():
    edges = graphs.SIMPLE.clone()
    there, back = (cache.normalized(edges, num_nodes=N, reverse=reverse) for reverse in (False, True))
    assert cache.normalized(edges, num_nodes=N, reverse=True) is back is not there
    assert torch.equal(back.to_dense(), Graph.normalized(edges.flip(0), num_nodes=N).to_dense())
    conv = GCNConv(3, 2, flow="target_to_source")
    assert conv.graph(torch.randn(N, 3), edges) is conv.graph(torch.randn(N, 3), edges)


def test_options_are_part_of_the_question():
    edge_index, weight = graphs.MULTI.clone(), torch.rand(graphs.MULTI.size(1))
    made = [
        normalized(edge_index),
        normalized(edge_index, self_loops=2.0),
        normalized(edge_index, self_loops=None),
        normalized(edge_index, dtype=torch.float64),
        normalized(edge_index, weight),
        normalized(edge_index, weight.clone()),
        cache.from_adjacency(edge_index, num_nodes=N),
        cache.from_adjacency(edge_index, num_nodes=N + 1),
    ]
    assert len(set(map(id, made))) == len(made)


def test_another_graph_in_the_same_tensor():
    edge_index, weight = graphs.SIMPLE.clone(), torch.ones(graphs.SIMPLE.size(1))
    first = normalized(edge_index, weight)
    weight[0] = 3
    second = normalized(edge_index, weight)
    edge_index[:, 0] = torch.tensor([4, 5])
    third = normalized(edge_index, weight)
    weight.view(3, 3)[1] = 7  # by a view
    fourth = normalized(edge_index, weight)
    dense = [g.to_dense() for g in (first, second, third, fourth)]
    assert not any(torch.equal(a, b) for i, a in enumerate(dense) for b in dense[:i])


@pytest.mark.parametrize("form", ["coo", "csr", "csc"])
def test_values_of_a_sparse_tensor_changed_by_another_name(form):
    adj_t, _ = graphs.forms(graphs.SIMPLE)[form]
    first = normalized(adj_t)
    (adj_t._values() if form == "coo" else adj_t.values())[0] = 7.0
    assert not torch.equal(normalized(adj_t).to_dense(), first.to_dense())


def test_an_edge_index_changed_by_another_name():
    raw = graphs.SIMPLE.clone()
    wrapped = EdgeIndex(raw, sparse_size=(N, N))
    first = normalized(wrapped)
    raw[:, 0] = torch.tensor([4, 5])
    assert not torch.equal(normalized(wrapped).to_dense(), first.to_dense())


def test_memory_of_a_freed_graph_belongs_to_the_next():
    seen, memory = set(), np.empty((2, 9), np.int64)  # always the same: the allocator may give other memory
    for seed in range(30):
        edge_index = torch.from_numpy(memory)
        edge_index.copy_(torch.randint(0, N, (2, 9), generator=torch.Generator().manual_seed(seed)))
        seen.add((id(edge_index), edge_index.data_ptr()))
        normalized(edge_index)
        assert len(cache._kept) == 1
        del edge_index
        assert len(cache._kept) == 0
    assert len(seen) < 30  # the danger was there


@pytest.mark.parametrize("make", ["normalized", "from_adjacency"])
def test_entries_die_with_any_of_their_tensors(make):
    order = (graphs.SIMPLE[1] * N + graphs.SIMPLE[0]).argsort()
    edge_index = graphs.SIMPLE[:, order]  # as stored: weights need not be copied
    for name in ("edge_index", "weight"):
        tensors = {"edge_index": edge_index.clone(), "weight": torch.rand(9)}
        graph = weakref.ref(getattr(cache, make)(*tensors.values(), num_nodes=N))
        assert len(cache._kept) == 1 and graph() is not None
        del tensors[name]
        gc.collect()
        assert len(cache._kept) == 0 and graph() is None


def test_at_most_so_many_are_kept_and_the_longest_unused_goes():
    tensors = [graphs.SIMPLE.clone() for _ in range(cache.MOST + 1)]
    made = [normalized(t) for t in tensors[:-1]]
    assert normalized(tensors[0]) is made[0]
    normalized(tensors[-1])
    assert len(cache._kept) == cache.MOST
    assert normalized(tensors[0]) is made[0] and normalized(tensors[1]) is not made[1]


def test_what_cannot_be_told_is_not_kept():
    with torch.inference_mode():
        uncounted = graphs.SIMPLE.clone()
    weight = torch.rand(9, requires_grad=True)
    normalized(uncounted), normalized(graphs.SIMPLE, weight)
    assert len(cache._kept) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("aggr", ["add", "mean", "max"])
@pytest.mark.parametrize("prepared", [False, True])
def test_what_inference_mode_made_serves_training(prepared, aggr, dtype):
    edge_index, x = graphs.SIMPLE.clone(), torch.randn(N, 4, dtype=dtype)
    adjacency = Graph.normalized(edge_index, num_nodes=N) if prepared else edge_index
    if prepared:
        keep_product(adjacency, x)
    for width in (3, 5):
        conv = GCNConv(4, width, aggr=aggr).to(dtype)
        with torch.inference_mode():
            expected = conv(x, adjacency).clone()
        y = conv(x, adjacency)
        y.sum().backward()
        torch.testing.assert_close(y, expected)
        assert conv.lin.weight.grad is not None
    graph = adjacency if prepared else cache.normalized(edge_index, num_nodes=N, dtype=dtype)
    with torch.inference_mode():
        assert not graph.transpose().col.is_inference() and not graph.averaged().row_scale.is_inference()


def test_a_graph_changed_in_place_makes_its_results_anew():
    graph, x = Graph.normalized(UNDIRECTED, 1 + torch.rand(UNDIRECTED.size(1)), num_nodes=N), torch.randn(N, 4)
    symmetric = Graph.from_adjacency(UNDIRECTED, torch.full((UNDIRECTED.size(1),), 0.5), num_nodes=N)
    assert symmetric.symmetric and symmetric.transpose() is symmetric
    for g in (graph, symmetric):
        keep_product(g, x)
        before = [propagate(g, x, reduce) for reduce in ("sum", "mean", "max")] + [kept_product(g, x)]
        g.transpose(), g.operands(torch.float32), g.operands(torch.float64)
        g.weight[0] += 5
        assert not g.symmetric and kept_product(g, x) is None
        dense = g.to_dense()
        assert torch.equal(g.transpose().to_dense(), dense.T)
        for dtype in (torch.float32, torch.float64):
            leaf = x.detach().clone().to(dtype).requires_grad_()
            propagate(g, leaf).sum().backward()
            torch.testing.assert_close(leaf.grad, dense.to(dtype).sum(0)[:, None].expand_as(x))
        after = [propagate(g, x, reduce) for reduce in ("sum", "mean", "max")]
        torch.testing.assert_close(after[0], dense @ x)
        assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=False))
    unscaled = Graph.normalized(graphs.SIMPLE, num_nodes=N, dtype=torch.float64)
    y = propagate(unscaled, x)
    unscaled.row_scale.mul_(2)  # and of the columns, which are the same tensor
    torch.testing.assert_close(propagate(unscaled, x), 4 * y)


@pytest.mark.parametrize("edges", ["SIMPLE", "MULTI"])
def test_other_arrays_cannot_be_put_in_place_of_those_that_results_are_kept_for(edges):
    graph = Graph.normalized(getattr(graphs, edges), num_nodes=N)
    for g in (graph, copy.deepcopy(graph), graph.transpose(), graph.reordered("degree")):
        before = g.to_dense()
        for name in ("rowptr", "col", "weight", "shape", "row_scale", "col_scale"):
            with pytest.raises(AttributeError, match=f"^{name} of a Graph cannot be assigned: .* another one"):
                setattr(g, name, torch.ones(3))
        assert torch.equal(g.to_dense(), before)


def test_an_array_changed_in_place_by_an_augmented_assignment():
    graph, x = Graph.normalized(graphs.MULTI, num_nodes=N), torch.randn(N, 4)
    y, transposed = propagate(graph, x), graph.transpose().to_dense()
    graph.weight *= 2
    torch.testing.assert_close(propagate(graph, x), 2 * y)
    torch.testing.assert_close(graph.transpose().to_dense(), 2 * transposed)


def test_other_weights_of_the_same_entries_are_another_graph():
    weight = torch.full((UNDIRECTED.size(1),), 0.5)
    graph, x = Graph.from_adjacency(UNDIRECTED, weight, num_nodes=N), torch.randn(N, 4)
    keep_product(graph, x)
    for g in (graph, graph.transpose(), graph.averaged()):
        g.operands(torch.float32)
    assert kept_product(graph, x) is not None
    for seed in range(20):  # memory of the weights before is used again
        other = graph.with_weight(torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)))
        dense = other.to_dense()
        assert not other.symmetric and kept_product(other, x) is None
        assert torch.equal(other.transpose().to_dense(), dense.T)
        leaf = x.clone().requires_grad_()
        y = propagate(other, leaf)
        y.sum().backward()
        torch.testing.assert_close(y, dense @ x)
        torch.testing.assert_close(leaf.grad, dense.sum(0)[:, None].expand_as(x))
        torch.testing.assert_close(propagate(other, x, "mean") * other.rowptr.diff().clamp(min=1)[:, None], y.detach())
    torch.testing.assert_close(propagate(graph, x), graph.to_dense() @ x)


def test_products_are_of_this_tensor_and_this_graph():
    first, second = (Graph.normalized(e, num_nodes=N) for e in (graphs.SIMPLE, UNDIRECTED))
    x = torch.randn(N, 4)
    keep_product(first, x)
    torch.testing.assert_close(kept_product(first, x), propagate(first, x), rtol=0, atol=0)
    assert kept_product(first, x) is kept_product(first, x)
    assert kept_product(second, x) is None and kept_product(first, x.clone()) is None
    assert kept_product(first, x[:]) is None
    x[0, 0] = 9
    assert kept_product(first, x) is None
    keep_product(first, x)
    assert torch.equal(kept_product(first, x), propagate(first, x))
    assert len(first.products) == 1
    del x
    assert len(first.products) == 0


def test_a_product_of_the_first_columns_is_used_again():
    graph, base = Graph.normalized(graphs.SIMPLE, num_nodes=N), torch.randn(N, 4)
    x = torch.cat([base, torch.randn(N, 2)], dim=1)
    keep_product(graph, base)
    keep_product(graph, x, base)
    torch.testing.assert_close(kept_product(graph, x), propagate(graph, x))
    conv = GCNConv(6, 9)
    torch.testing.assert_close(conv(x, graph), conv(x.clone(), graph))
    with torch.inference_mode():
        uncounted = torch.randn(N, 4)
        keep_product(graph, uncounted)
        assert kept_product(graph, uncounted) is None
