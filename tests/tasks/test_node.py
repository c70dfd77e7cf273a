import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.data import NodeDataset
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.ops.features import drop_rows
from multipath_gcn.tasks import ConsistencyLoss, NodeTask

N = 40
SPLIT = {"train": torch.arange(12), "valid": torch.arange(12, 20), "test": torch.arange(20, N)}
EDGES = torch.randint(0, N, (2, 120), generator=torch.Generator().manual_seed(0))
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(1))
CLASSES = torch.arange(N) % 3
TASKS = (torch.arange(N)[:, None] // torch.tensor([1, 2]) % 2).float()


def classes(**changes):
    return NodeDataset(
        **dict(name="toy", x=X, edge_index=EDGES, y=CLASSES, split=SPLIT, num_outputs=3, metric="acc") | changes
    )


def binary():
    return classes(y=TASKS, num_outputs=2, metric="rocauc")


def model_for(task):
    return MultiPathGCN(task.in_channels, 8, task.out_channels)


def test_loss_is_over_the_training_nodes_only():
    task = NodeTask(classes())
    model = model_for(task)
    expected = F.cross_entropy(model(X, EDGES)[:12], CLASSES[:12])
    torch.testing.assert_close(task.train_loss(model, 1), expected)
    hidden = CLASSES.clone()
    hidden[12:] = 0  # labels outside the training set must not matter
    torch.testing.assert_close(NodeTask(classes(y=hidden)).train_loss(model, 1), expected)


def test_scores_are_those_of_each_split():
    task = NodeTask(classes())
    model = model_for(task)
    found = task.evaluate(model)
    right = model(X, EDGES).argmax(1) == CLASSES
    assert found == {
        "train": pytest.approx(right[:12].float().mean().item()),
        "valid": pytest.approx(right[12:20].float().mean().item()),
        "test": pytest.approx(right[20:].float().mean().item()),
        "valid_loss": pytest.approx(F.cross_entropy(model(X, EDGES)[12:20], CLASSES[12:20]).item()),
    }
    assert not model.training


def test_binary_tasks_use_binary_cross_entropy():
    task = NodeTask(binary())
    model = model_for(task)
    expected = F.binary_cross_entropy_with_logits(model(X, EDGES)[:12], TASKS[:12])
    torch.testing.assert_close(task.train_loss(model, 1), expected)
    assert 0 <= task.evaluate(model)["valid"] <= 1


@pytest.mark.parametrize("dataset", [classes, binary])
def test_label_reuse_gives_labels_and_trains_on_the_others(dataset):
    task = NodeTask(dataset(), label_reuse=0.5)
    assert task.in_channels == 5 + task.out_channels
    seen = []

    def model(x, graph):
        seen.append(x)
        return torch.zeros(N, task.out_channels, requires_grad=True)

    model.train = model.eval = lambda: None
    task.train_loss(model, 1)
    task.evaluate(model)
    shown = [set(x[:, 5:].abs().sum(1).nonzero().view(-1).tolist()) for x in seen]
    assert shown[0] < set(range(12))  # a part of the training nodes
    assert shown[1] <= set(range(12)) and torch.equal(seen[1][:12, 5:], task.labels.targets[:12])


def test_edge_weights_reach_the_graph():
    weight = torch.rand(120)
    task, bare = NodeTask(classes(edge_weight=weight)), NodeTask(classes())
    assert task.graph.num_entries == bare.graph.num_entries
    assert not torch.allclose(task.graph.value, bare.graph.value)


def test_a_loss_of_the_users_is_used():
    task = NodeTask(classes(), loss=lambda scores, labels: scores.sum() * 0 + labels.sum())
    assert task.train_loss(model_for(task), 1) == CLASSES[:12].sum()


def test_consistency_is_added_over_the_passes_of_one_step():
    task = NodeTask(classes(), consistency=ConsistencyLoss(passes=3, weight=0.7), drop_node=0.4)
    model = MultiPathGCN(5, 8, 3, dropout=0.5)
    torch.manual_seed(1)
    found = task.train_loss(model, 1)
    torch.manual_seed(1)
    passes = [model(drop_rows(X, 0.4), EDGES) for _ in range(3)]
    expected = sum(F.cross_entropy(p[:12], CLASSES[:12]) for p in passes) / 3 + task.consistency(torch.stack(passes), 1)
    torch.testing.assert_close(found, expected)
    assert task.evaluate(model) == task.evaluate(model)  # nothing is dropped in evaluation


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (classes, dict(drop_node=1.0), r"drop_node must lie in \[0, 1\), got 1.0"),
        (binary, dict(consistency=ConsistencyLoss()), "consistency must be None for binary tasks"),
    ],
)
def test_refuses(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        NodeTask(dataset(), **options)


def test_a_model_that_takes_no_graph_is_refused():
    task = NodeTask(classes())
    task.check(model_for(task))
    with pytest.raises(ValueError, match="model must take features and a graph, .* images need task=image, got Linear"):
        task.check(torch.nn.Linear(2, 3))
