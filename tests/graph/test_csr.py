"""The arrays of a graph: their index type, their copies, what they refuse."""

import copy
import pickle

import graphs
import pytest
import torch

from multipath_gcn.graph import Graph
from multipath_gcn.graph.csr import index_type, rowptr_of, transposed
from multipath_gcn.ops import propagate

BIG = 2**31


@pytest.mark.parametrize(
    ("shape", "entries", "expected"),
    [
        ((3, 4), 5, torch.int32),
        ((BIG - 1, 1), 0, torch.int32),
        ((BIG, 1), 0, torch.int64),
        ((1, BIG), 0, torch.int64),
        ((1, 1), BIG - 1, torch.int32),
        ((1, 1), BIG, torch.int64),
        ((0, 0), 0, torch.int32),
    ],
)
def test_the_narrowest_index_type_that_holds_all_numbers(shape, entries, expected):
    assert index_type(shape, entries) is expected


def test_node_ids_beyond_int32():
    graph = Graph.from_adjacency(torch.tensor([[BIG + 5, 3], [0, 1]]), num_nodes=(BIG + 6, 2))
    assert graph.col.dtype == graph.rowptr.dtype == torch.int64
    assert graph.col.tolist() == [BIG + 5, 3]


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_index_types_give_the_same(index):
    graph = Graph.normalized(graphs.MULTI, num_nodes=graphs.N)
    other = Graph(graph.rowptr.to(index), graph.col.to(index), graph.weight, symmetric=graph.symmetric)
    assert other.transpose().col.dtype == other.transpose().rowptr.dtype == index
    for reduce in ("sum", "mean", "max"):
        x, y = (torch.linspace(-1, 1, graphs.N * 70).view(graphs.N, 70).requires_grad_() for _ in range(2))
        expected, found = propagate(graph, x, reduce), propagate(other, y, reduce)
        expected.square().sum().backward(), found.square().sum().backward()
        assert torch.equal(expected, found) and torch.equal(x.grad, y.grad)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 9), (4, 0), (0, 4)])
def test_transposed_places(shape):
    stored = torch.rand(shape) < 0.4
    rowptr, col = rowptr_of(stored.nonzero()[:, 0], shape[0]), stored.nonzero()[:, 1]
    assert torch.equal(rowptr.diff(), stored.sum(1))
    value = torch.rand(col.numel())
    rowptr_t, col_t, entry = transposed(rowptr, col, shape)
    dense = torch.zeros(shape).index_put((stored.nonzero()[:, 0], col), value)
    assert torch.equal(Graph(rowptr_t, col_t, value[entry], shape[::-1]).to_dense(), dense.T)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g)), lambda g: g.to("cpu")])
@pytest.mark.parametrize("edges", ["SIMPLE", "MULTI"])
def test_copies(edges, copied):
    graph, x = Graph.normalized(getattr(graphs, edges), num_nodes=graphs.N), torch.randn(graphs.N, 3)
    propagate(graph, x, "mean"), graph.transpose()
    other = copied(graph)
    assert other is not graph and torch.equal(propagate(other, x), propagate(graph, x))
    assert other.symmetric == graph.symmetric and other.shape == graph.shape
    assert torch.equal(other.transpose().to_dense(), graph.to_dense().T)


def test_a_deep_copy_has_its_own_memory():
    graph = Graph.normalized(graphs.MULTI, num_nodes=graphs.N)
    before = graph.to_dense()
    other = copy.deepcopy(graph)
    other.weight.zero_()
    assert torch.equal(graph.to_dense(), before) and not other.to_dense().any()


def arrays(rowptr, col):
    return torch.tensor(rowptr), torch.tensor(col, dtype=torch.long)


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        (arrays([0, 2, 1], [0, 1]), {}, r"rowptr must ascend from 0 to the number of entries \(2\), got from 0 to 1"),
        (arrays([0, 3, 2], [0, 1]), {}, "rowptr must ascend from 0"),
        (arrays([1, 1, 2], [0, 1]), {}, "rowptr must ascend from 0 .* got from 1 to 2"),
        (arrays([0, 2], [0, 0]), dict(shape=(1, 1)), "col must ascend strictly within each row, got 0 after 0"),
        (arrays([0, 2], [1, 0]), dict(shape=(1, 2)), "col must ascend strictly within each row, got 0 after 1"),
        (arrays([0, 1], [1]), {}, r"col must hold node ids in \[0, 1\), got \[1, 1\]"),
        (arrays([0, 1], [-1]), {}, r"col must hold node ids in \[0, 1\), got \[-1, -1\]"),
        (arrays([0, 1], [0]), dict(shape=(2, 1)), r"rowptr must have shape \[3\], got \[2\]"),
        ((torch.zeros(0).long(), torch.zeros(0).long()), {}, r"shape must hold two numbers .* got \[-1, -1\]"),
        ((torch.zeros(2), torch.zeros(0)), {}, "rowptr must be int32 or int64 .* got torch.float32"),
        ((torch.zeros(2).int(), torch.zeros(0).long()), {}, "col must be int32 or int64 .* alike, got torch.int64"),
        ((torch.zeros(2, 1).long(), torch.zeros(0).long()), {}, r"rowptr must be .* got torch.int64 \[2, 1\]"),
        (arrays([0, 1], [0]), dict(weight=torch.ones(2)), r"weight must be floating of shape \[1\], got .* \[2\]"),
        (arrays([0, 1], [0]), dict(weight=torch.ones(1).long()), "weight must be floating .* got torch.int64"),
        (arrays([0, 1], [0]), dict(row_scale=torch.ones(1, 1)), "row_scale must be floating of shape"),
        (
            arrays([0, 1], [0]),
            dict(col_scale=torch.ones(1, device="meta")),
            "col_scale must be on the device of rowptr",
        ),
        (
            arrays([0, 0], []),
            dict(shape=(1, 2), symmetric=True),
            r"symmetric must be False for shape \[1, 2\], got True",
        ),
    ],
)
def test_refuses(parts, options, message):
    with pytest.raises(ValueError, match=message):
        Graph(*parts, **options)
