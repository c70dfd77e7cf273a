"""In place of torch_geometric.nn.GCNConv: its arguments, names, forms of graph, gradients."""

import copy
import inspect
import pickle

import graphs
import pytest
import torch
from torch_geometric.nn import GCNConv as PyGConv
from torch_geometric.nn import Sequential

from multipath_gcn.graph import Graph
from multipath_gcn.nn import GCNConv

N = graphs.N
WEIGHT = torch.linspace(0.5, 2, graphs.SIMPLE.size(1), dtype=torch.float64)
X = torch.randn(N, 4, dtype=torch.float64)


def pair(*args, **options):
    """PyG's layer and ours with its parameters, in float64."""
    theirs, ours = PyGConv(*args, **options).double(), GCNConv(*args, **options).double()
    if theirs.bias is not None:
        torch.nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def with_gradients(conv, x, edge_index, weight=None):
    inputs = [x.clone().requires_grad_(), *([] if weight is None else [weight.clone().requires_grad_()])]
    y = conv(inputs[0], edge_index, *inputs[1:])
    grad = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *torch.autograd.grad(y, [*inputs, *conv.parameters()], grad)]


def assert_same(theirs, ours, *args):
    torch.testing.assert_close(with_gradients(ours, *args), with_gradients(theirs, *args), rtol=1e-9, atol=1e-11)


def test_arguments_have_pygs_names_places_and_defaults():
    theirs, ours = (list(inspect.signature(c.__init__).parameters.values())[1:-1] for c in (PyGConv, GCNConv))
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])
    names = [list(inspect.signature(c.forward).parameters) for c in (PyGConv, GCNConv)]
    assert names[0] == names[1]


def test_names_and_state_are_exchanged():
    for options in ({}, dict(bias=False)):
        theirs, ours = PyGConv(4, 3, **options), GCNConv(4, 3, **options)
        assert str(ours) == str(theirs) == "GCNConv(4, 3)"
        assert list(ours.state_dict()) == list(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict())
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
        theirs.load_state_dict(GCNConv(4, 3, **options).state_dict())


def test_a_seed_initialises_both_alike():
    states = []
    for conv in (PyGConv, GCNConv):
        torch.manual_seed(5)
        states.append(conv(4, 3).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_lazy_width():
    theirs, ours = PyGConv(-1, 3), GCNConv(-1, 3)
    assert str(ours) == str(theirs)
    for conv in (theirs, ours):
        conv(X.float(), graphs.SIMPLE)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(X.float(), graphs.SIMPLE), theirs(X.float(), graphs.SIMPLE))
    fresh = GCNConv(-1, 3)
    fresh.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(fresh(X.float(), graphs.SIMPLE), theirs(X.float(), graphs.SIMPLE))


OPTIONS = [
    {},
    dict(bias=False),
    dict(improved=True),
    dict(add_self_loops=False),
    dict(normalize=False),
    dict(normalize=False, add_self_loops=False, bias=False),
    dict(flow="target_to_source"),
    dict(flow="target_to_source", improved=True),
    dict(cached=True),
    dict(aggr="sum"),
    dict(aggr="mean"),
    dict(aggr="max"),
    dict(aggr="min"),
    dict(aggr="mean", normalize=False),
    dict(aggr="max", flow="target_to_source"),
    dict(decomposed_layers=2),
]


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("width", [2, 6])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_values_and_every_gradient(options, width, weight):
    theirs, ours = pair(4, width, **options)
    if weight is None and "improved" in options:  # PyG adds loops of weight 1 where it is given no weights
        ones = torch.ones_like(WEIGHT)
        expected = theirs(X, graphs.SIMPLE, ones)
        torch.testing.assert_close(ours(X, graphs.SIMPLE), expected, rtol=1e-9, atol=1e-11)
        assert not torch.allclose(theirs(X, graphs.SIMPLE), theirs(X, graphs.SIMPLE, ones))
    else:
        assert_same(theirs, ours, X, graphs.SIMPLE, *([] if weight is None else [weight]))


@pytest.mark.parametrize("options", [{}, dict(flow="target_to_source"), dict(aggr="mean"), dict(aggr="max")], ids=str)
def test_one_graph_for_many_feature_matrices(options):
    theirs, ours = pair(4, 5, **options)
    x = torch.randn(3, N, 4, dtype=torch.float64)
    y = ours(x, graphs.SIMPLE)
    for i in range(3):
        torch.testing.assert_close(y[i], theirs(x[i], graphs.SIMPLE))
    if not options:
        torch.testing.assert_close(y, theirs(x, graphs.SIMPLE))


@pytest.mark.parametrize("node_dim", [0, -3])
def test_nodes_in_another_dimension(node_dim):
    ours, x = GCNConv(4, 5, node_dim=node_dim).double(), torch.randn(N, 3, 4, dtype=torch.float64)
    usual = GCNConv(4, 5).double()
    usual.load_state_dict(ours.state_dict())
    expected = usual(x.movedim(0, 1), graphs.SIMPLE).movedim(1, 0)
    torch.testing.assert_close(ours(x, graphs.SIMPLE), expected)


@pytest.mark.parametrize("form", [*graphs.SPARSE, "EdgeIndex"])
@pytest.mark.parametrize("options", OPTIONS[:6], ids=str)
def test_pygs_own_results_for_every_form_of_a_simple_graph(options, form):
    theirs, ours = pair(4, 5, **options)
    adjacency = graphs.forms(graphs.SIMPLE, WEIGHT)[form]
    expected = with_gradients(theirs, X, graphs.SIMPLE, WEIGHT)[0]
    torch.testing.assert_close(ours(X, *adjacency), expected)
    if (not options or "bias" in options) and form != "csc":  # which PyG does not normalise
        torch.testing.assert_close(theirs(X, *adjacency), expected)


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
@pytest.mark.parametrize("options", OPTIONS[:6], ids=str)
def test_forms_agree_with_loops_and_parallel_edges(options, flow):
    conv = GCNConv(4, 5, flow=flow, **options).double()
    weight = torch.linspace(0.5, 2, graphs.MULTI.size(1), dtype=torch.float64)
    expected = conv(X, graphs.MULTI, weight)
    for form, adjacency in graphs.forms(graphs.MULTI, weight).items():
        if flow == "target_to_source" and form in ("coo", "csr", "csc", "SparseTensor"):
            with pytest.raises(ValueError, match="flow must be 'source_to_target' with a sparse adj_t"):
                conv(X, *adjacency)
        else:
            torch.testing.assert_close(conv(X, *adjacency), expected, msg=form)


def test_cached_is_not_another_graphs_result():
    theirs, ours = pair(4, 3, cached=True)
    other = graphs.SIMPLE[:, :4].clone()
    first = ours(X, graphs.SIMPLE)
    torch.testing.assert_close(first, theirs(X, graphs.SIMPLE))
    theirs.reset_parameters()  # without which it would answer for the first graph
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(X, other), theirs(X, other))
    assert torch.equal(ours(X, graphs.SIMPLE), first)


@pytest.mark.parametrize("form", graphs.SPARSE)
def test_weights_beside_an_adjacency_are_refused(form):
    adj_t, _ = graphs.forms(graphs.SIMPLE, WEIGHT)[form]
    with pytest.raises(ValueError, match="edge_weight must be None with a sparse adj_t"):
        GCNConv(4, 3).double()(X, adj_t, WEIGHT)
    with pytest.raises(ValueError, match="edge_weight must be None with a Graph"):
        GCNConv(4, 3).double()(X, Graph.normalized(graphs.SIMPLE, num_nodes=N), WEIGHT)


@pytest.mark.parametrize("x", [(X, X), [X, X], (X, None)], ids=["tuple", "list", "half"])
def test_a_pair_of_features_is_refused(x):
    for conv in (PyGConv(4, 3), GCNConv(4, 3)):
        with pytest.raises(ValueError, match="tuple|list"):
            conv(x, graphs.SIMPLE)


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_what_is_no_graph_is_refused(flow):
    for wrong in ("edges", None, [[0], [1]]):
        with pytest.raises(ValueError, match="edge_index must be a tensor or a Graph, got"):
            GCNConv(4, 3, flow=flow).double()(X, wrong)


def test_loops_without_normalisation_are_refused_by_both():
    for conv in (PyGConv, GCNConv):
        with pytest.raises(ValueError):
            conv(4, 3, add_self_loops=True, normalize=False)


def test_copies_and_pickles_compute_the_same():
    conv = GCNConv(4, 3, aggr="mean", improved=True).double()
    expected = conv(X, graphs.SIMPLE)
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert torch.equal(other(X, graphs.SIMPLE), expected)


def test_in_pygs_sequential():
    layers = [(GCNConv(4, 8), "x, edge_index -> x"), torch.nn.ReLU(), (GCNConv(8, 3), "x, edge_index -> x")]
    assert Sequential("x, edge_index", layers)(X.float(), graphs.SIMPLE).shape == (N, 3)
