"""What watches PyG's messages sees those of GCNConv: hooks on propagation, masks and explainers."""

import graphs
import pytest
import torch
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.nn import GCNConv as PyGConv

from multipath_gcn.graph import Graph
from multipath_gcn.nn import GCNConv, MultiPathGCN

N = graphs.N
X = torch.randn(N, 4, dtype=torch.float64)
HOOKS = ["propagate", "message", "aggregate"]


@pytest.mark.parametrize("adjacency", ["edge_index", "csr", graphs.SPARSE_TENSOR, "Graph"])
@pytest.mark.parametrize("when", ["_pre", ""])
@pytest.mark.parametrize("part", HOOKS)
def test_hooks_are_called(part, when, adjacency):
    conv, calls = GCNConv(4, 3).double(), []
    graph = Graph.normalized(graphs.SIMPLE, num_nodes=N)
    given = graph if adjacency == "Graph" else graphs.forms(graphs.SIMPLE)[adjacency][0]
    expected = conv(X, given)
    register = getattr(conv, f"register_{part}_forward{when}_hook")
    handle = register(lambda module, *_: calls.append(module))
    torch.testing.assert_close(conv(X, given), expected, rtol=1e-6, atol=1e-7)
    assert calls == [conv]
    handle.remove()
    torch.testing.assert_close(conv(X, given), expected)
    assert calls == [conv]


@pytest.mark.parametrize("weight", [None, torch.linspace(0.5, 2, 9)], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "options",
    [
        dict(improved=True),
        dict(improved=True, flow="target_to_source"),
        dict(add_self_loops=False),
        dict(normalize=False),
        dict(aggr="max"),
        dict(transform="sliding", groups=2),
    ],
    ids=str,
)
def test_what_is_watched_is_the_same(options, weight):
    conv = GCNConv(4, 3, **options)
    expected = conv(X.float(), graphs.SIMPLE, weight)
    conv.register_propagate_forward_pre_hook(lambda *_: None)
    torch.testing.assert_close(conv(X.float(), graphs.SIMPLE, weight), expected, rtol=1e-5, atol=1e-6)


def test_a_hook_changes_the_result():
    conv = GCNConv(4, 3, bias=False).double()
    expected = conv(X, graphs.SIMPLE)
    conv.register_message_forward_hook(lambda module, inputs, out: 2 * out)
    torch.testing.assert_close(conv(X, graphs.SIMPLE), 2 * expected)


def test_explanations_are_pygs():
    theirs, ours = PyGConv(4, 3).double(), GCNConv(4, 3).double()
    ours.load_state_dict(theirs.state_dict())
    mask = torch.nn.Parameter(torch.linspace(-2, 2, graphs.SIMPLE.size(1), dtype=torch.float64))
    results = []
    for conv in (theirs, ours):
        mask.grad = None
        plain = conv(X, graphs.SIMPLE)
        set_masks(conv, mask, graphs.SIMPLE, apply_sigmoid=True)
        y = conv(X, graphs.SIMPLE)
        y.square().sum().backward()
        results.append([y, mask.grad.clone()])
        clear_masks(conv)
        torch.testing.assert_close(conv(X, graphs.SIMPLE), plain)
        assert not torch.allclose(y, plain)
    torch.testing.assert_close(*results)


def test_gnn_explainer_runs():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = GCNConv(4, 8), GCNConv(8, 3)

        def forward(self, x, edge_index):
            return self.conv2(self.conv1(x, edge_index).relu(), edge_index).log_softmax(-1)

    explainer = Explainer(
        Net(),
        GNNExplainer(epochs=3),
        explanation_type="model",
        edge_mask_type="object",
        node_mask_type="attributes",
        model_config=dict(mode="multiclass_classification", task_level="node", return_type="log_probs"),
    )
    found = explainer(X.float(), graphs.SIMPLE, index=2)
    assert found.edge_mask.shape == (graphs.SIMPLE.size(1),) and found.node_mask.shape == (N, 4)
    assert found.edge_mask.abs().sum() > 0


def test_hooks_on_the_layers_of_a_network_are_called():
    model, graph = MultiPathGCN(4, 6, 3, paths=((6, 6), (6,))).double(), Graph.normalized(graphs.SIMPLE, num_nodes=N)
    expected, calls = model(X, graph), []
    convs = [module for module in model.modules() if isinstance(module, GCNConv)]
    for conv in convs:
        conv.register_message_forward_hook(lambda module, *_: calls.append(module))
    torch.testing.assert_close(model(X, graph), expected, rtol=1e-6, atol=1e-7)
    assert set(calls) == set(convs)


def test_a_network_refuses_the_edge_masks_of_an_explanation():
    model = MultiPathGCN(4, 6, 3)
    set_masks(model, torch.ones(graphs.SIMPLE.size(1)), graphs.SIMPLE)
    with pytest.raises(ValueError, match=r"an explanation needs layers called with edges \(GCNConv\), got one"):
        model(X.float(), graphs.SIMPLE)
    clear_masks(model)
    model(X.float(), graphs.SIMPLE)
