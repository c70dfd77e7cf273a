"""Paths that are computed again in backward."""

import graphs
import pytest
import torch

from multipath_gcn.graph import Graph
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.ops import graph_transform


@pytest.mark.parametrize("paths", [((8, 8), (4, 8), ()), ((8, 8), (4, 8))], ids=str)
@pytest.mark.parametrize("least", [0, 2**62])
def test_recomputed_paths_have_the_same_gradients(monkeypatch, least, paths):
    monkeypatch.setattr(graph_transform, "LEAST", least)
    graph, x = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N), torch.randn(graphs.N, 8, requires_grad=True)
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = MultiPathGCN(8, 8, 3, paths=paths, dropout=0.5, recompute=recompute)
        torch.manual_seed(1)
        y = model(x, graph)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])])
    torch.testing.assert_close(*found)


def test_nothing_inside_a_path_is_kept():
    graph, x = Graph.normalized(graphs.SIMPLE, num_nodes=graphs.N), torch.randn(graphs.N, 64)
    kept = []
    for recompute in (False, True):
        model, sizes = MultiPathGCN(64, 64, 3, paths=((64,) * 6,), recompute=recompute), []

        def record(tensor, sizes=sizes):
            sizes.append(tensor.numel() if tensor.shape == (graphs.N, 64) else 0)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
            model(x, graph)
        kept.append(sum(sizes))
    assert kept[1] <= kept[0] - 4 * graphs.N * 64
