"""Random legal arguments match dense float64 sums; random illegal ones raise a ValueError that names one of them."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multipath_gcn.graph import Graph
from multipath_gcn.ops import dropout_mask, propagate

quick = settings(max_examples=150, deadline=None, derandomize=True)
sizes = st.integers(0, 7)
REDUCTIONS = ("sum", "mean", "max", "min")
SEED = torch.tensor(77)


def floats(draw, *shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


@st.composite
def edge_lists(draw, sources, targets):
    pairs = st.tuples(st.integers(0, max(0, sources - 1)), st.integers(0, max(0, targets - 1)))
    edges = draw(st.lists(pairs, max_size=15)) if sources and targets else []
    return torch.tensor(edges, dtype=draw(st.sampled_from((torch.int32, torch.int64)))).view(-1, 2).t()


def dense(edges, weight, sources, targets):
    a = torch.zeros(targets, sources, dtype=torch.float64)
    value = torch.ones(edges.size(1)).double() if weight is None else weight.double()
    stored = torch.zeros(targets, sources, dtype=torch.bool).index_put_(
        (edges[1].long(), edges[0].long()), torch.tensor(True)
    )
    return a.index_put_((edges[1].long(), edges[0].long()), value, accumulate=True), stored


def reduced(a, stored, x, reduce):
    if reduce in ("sum", "mean"):
        return a @ x / (stored.sum(1, keepdim=True).clamp(min=1) if reduce == "mean" else 1)
    far = -torch.inf if reduce == "max" else torch.inf
    messages = torch.cat(
        [(a[:, :, None] * x).masked_fill(~stored[:, :, None], far), a.new_full((len(a), 1, x.size(1)), far)], 1
    )
    y = messages.amax(1) if reduce == "max" else messages.amin(1)
    return y.masked_fill(y.isinf(), 0)


@quick
@given(
    st.data(),
    sizes,
    sizes,
    st.integers(0, 70),
    st.sampled_from(REDUCTIONS),
    st.sampled_from(["float32", "float64", "bfloat16"]),
)
def test_legal_arguments_match_a_dense_sum(data, sources, targets, features, reduce, dtype):
    draw, dtype = data.draw, getattr(torch, dtype)
    edges = draw(edge_lists(sources, targets))
    weight = floats(draw, edges.size(1)) if draw(st.booleans()) else None
    lead = draw(st.lists(st.integers(0, 3), max_size=2))
    x = floats(draw, *lead, sources, features, dtype=dtype)
    x = draw(
        st.sampled_from([lambda t: t, lambda t: t.mT.contiguous().mT, lambda t: torch.cat([t, t], -1)[..., :features]])
    )(x)
    bias = floats(draw, features, dtype=dtype) if draw(st.booleans()) else None
    activation, p = draw(st.sampled_from([None, "relu"])), draw(st.sampled_from([0.0, 0.25]))
    graph = Graph.from_adjacency(edges, weight, num_nodes=(sources, targets))
    y = propagate(graph, x, reduce, bias=bias, activation=activation, dropout=p, seed=SEED)

    parts = x.double().reshape(math.prod(lead), sources, features)
    matrix = dense(edges, weight, sources, targets)
    rows = [reduced(*matrix, part, reduce) for part in parts]
    expected = torch.stack(rows) if rows else torch.zeros(0, targets, features).double()
    expected = expected + (0 if bias is None else bias.double())
    expected = expected.relu() if activation else expected
    mask = dropout_mask((expected.size(0) * targets, features), p, SEED).view_as(expected)
    expected = torch.where(mask, expected / (1 - p), 0) if p else expected
    assert y.dtype == dtype and y.shape == (*lead, targets, features)
    tolerance = {torch.bfloat16: 0.02, torch.float32: 1e-5, torch.float64: 1e-6}[dtype]  # values are float32
    torch.testing.assert_close(y.double().reshape(expected.shape), expected, rtol=tolerance, atol=tolerance)


@quick
@given(st.data(), st.integers(1, 7), st.booleans())
def test_normalisation_is_the_dense_one(data, n, weighted):
    edges = data.draw(edge_lists(n, n))
    weight = floats(data.draw, edges.size(1)).abs() if weighted else None
    loops = data.draw(st.sampled_from([None, 1.0, 2.0]))
    a, stored = dense(edges, weight, n, n)
    if loops is not None:
        a += torch.diag(torch.where(stored.diagonal(), 0.0, loops).double())
    scale = a.sum(1).rsqrt().masked_fill(a.sum(1) == 0, 0)
    graph = Graph.normalized(edges, weight, num_nodes=n, self_loops=loops)
    torch.testing.assert_close(graph.to_dense().double(), scale[:, None] * a * scale, rtol=1e-5, atol=1e-6)
    assert not graph.symmetric or torch.equal(graph.to_dense(), graph.to_dense().T)
    torch.testing.assert_close(graph.transpose().to_dense(), graph.to_dense().T)


ids = st.integers(-2, 5) | st.sampled_from([2**31, -(2**31), 2**62, -(2**63), 2**63 - 1])
weights = st.floats(-3, 3, width=32) | st.sampled_from([math.nan, math.inf, -math.inf])


@quick
@given(
    st.lists(st.tuples(ids, ids, weights), max_size=5),
    st.integers(-1, 5),
    st.sampled_from(["normalized", "from_adjacency"]),
)
def test_edge_lists_are_taken_or_named(edges, n, make):
    index = torch.tensor([edge[:2] for edge in edges], dtype=torch.int64).view(-1, 2).t()
    weight = torch.tensor([edge[2] for edge in edges])
    legal = n >= 0 and all(0 <= i < n for edge in edges for i in edge[:2]) and bool(weight.isfinite().all())
    if legal and make == "normalized":
        a, stored = dense(index, weight, n, n)
        degree = (a + torch.diag((~stored.diagonal()).double())).sum(1)
        if (degree.abs() < 1e-5).any():  # rounding decides
            return
        legal = bool((degree >= 0).all())
    if legal:
        assert getattr(Graph, make)(index, weight, num_nodes=n).to_dense().isfinite().all()
    else:
        with pytest.raises(ValueError, match=r"^(edge_index|edge_weight|num_nodes) must .*, got "):
            getattr(Graph, make)(index, weight, num_nodes=n)


def is_matrix(rowptr, col, shape):
    if len(rowptr) != shape[0] + 1 or rowptr[0] != 0 or rowptr[-1] != len(col):
        return False
    rows = [col[a:b] for a, b in pairwise(rowptr)]
    falls = any(a > b for a, b in pairwise(rowptr))
    return not falls and all(0 <= j < shape[1] for j in col) and all(row == sorted(set(row)) for row in rows)


numbers = st.integers(0, 3) | st.sampled_from([-1, 9, -(2**31), 2**31 - 1])


@quick
@given(
    st.lists(numbers, max_size=4).map(lambda r: [0, *sorted(r)]) | st.lists(numbers, max_size=4),
    st.lists(numbers, max_size=4),
    st.integers(1, 4),
    st.booleans(),
)
def test_csr_is_taken_or_named(rowptr, col, columns, narrow):
    index = torch.int32 if narrow else torch.int64
    shape, parts = (len(rowptr) - 1, columns), (torch.tensor(rowptr, dtype=index), torch.tensor(col, dtype=index))
    if rowptr and is_matrix(rowptr, col, shape):
        graph = Graph(*parts, shape=shape)
        x = torch.randn(columns, 3)
        torch.testing.assert_close(propagate(graph, x), graph.to_dense() @ x)
    else:
        with pytest.raises(ValueError, match=r"^(rowptr|col|shape) must .*, got "):
            Graph(*parts, shape=shape)
