from dataclasses import replace

import pytest
import torch

from multipath_gcn.data import load_digits
from multipath_gcn.graph import Graph
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.ops.features import is_sparse
from multipath_gcn.tasks import NodeTask
from multipath_gcn.tasks.hops import with_hops


def test_powers_of_the_matrix_times_the_features():
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    graph = Graph.normalized(edges, num_nodes=4)
    x, a = torch.randn(4, 3), graph.to_dense().float()
    torch.testing.assert_close(with_hops(graph, x, 2), torch.cat([x, a @ x, a @ a @ x], dim=1))


def test_a_path_without_layers_reads_them():
    task = NodeTask(load_digits(), hops=2)
    assert task.in_channels == 3 * 64
    model = MultiPathGCN(task.in_channels, 8, task.out_channels, stem=0, paths=((8,), ()), combine="concat")
    assert model(task.x, task.graph).shape == (1797, 10)
    assert model.readout.in_channels == 8 + 3 * 64


def test_bags_of_few_words_stay_sparse():
    words = torch.eye(400).repeat(5, 1)[:1797]
    dataset = replace(load_digits(), x=words)
    task, with_labels = NodeTask(dataset, hops=1), NodeTask(dataset, hops=1, label_reuse=0.5)
    wanted = with_hops(task.graph, words, 1)
    assert is_sparse(task.x) and not is_sparse(with_labels.x)
    torch.testing.assert_close(task.x.to_dense(), wanted)
    torch.testing.assert_close(with_labels.x, wanted)
    model = MultiPathGCN(task.in_channels, 8, task.out_channels, stem=0, paths=((8,), ()), combine="concat").eval()
    torch.testing.assert_close(model(task.x, task.graph), model(wanted, task.graph))


@pytest.mark.parametrize("hops", [-1, 1.5])
def test_refused(hops):
    with pytest.raises(ValueError, match=f"hops must be 0 or more, got {hops}"):
        NodeTask(load_digits(), hops=hops)
