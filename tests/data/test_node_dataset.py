from dataclasses import replace

import numpy as np
import pytest
import torch

from multipath_gcn.data import NodeDataset


def make(**changes):
    arguments = dict(
        name="tiny",
        x=torch.randn(6, 3),
        edge_index=torch.tensor([[0, 1, 2], [1, 2, 5]]),
        y=torch.tensor([0, 1, 2, 0, 1, 2]),
        num_outputs=3,
        metric="acc",
        split={"train": torch.tensor([0, 1]), "valid": torch.tensor([2]), "test": torch.tensor([3, 4])},
    )
    return NodeDataset(**{**arguments, **changes})


def split(train=(0, 1), valid=(2,), test=(3, 4)):
    return {"train": torch.as_tensor(train), "valid": torch.as_tensor(valid), "test": torch.as_tensor(test)}


def at(tensor, index, value):
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


BINARY = dict(metric="rocauc", num_outputs=2, y=torch.tensor([[0.0, 1.0]] * 6))

REFUSED = [
    (dict(metric="f1"), "metric must be one of acc, rocauc, got 'f1'"),
    (dict(num_outputs=0), "num_outputs must be at least 1, got 0"),
    (dict(x=torch.ones(6)), r"x must be float32 of shape \[N, F\] .* got torch.float32 \(6,\)"),
    (dict(x=torch.ones(6, 3).double()), "x must be float32 .* got torch.float64"),
    (dict(x=torch.ones(6, 0)), "x must be float32 of shape"),
    (dict(x=at(torch.ones(6, 3), (4, 1), float("nan"))), "x must be finite, got nan at node 4, feature 1"),
    (dict(x=at(torch.ones(6, 3), (0, 2), float("-inf"))), "x must be finite, got -inf at node 0, feature 2"),
    (dict(edge_index=torch.zeros(3, 2).long()), r"edge_index must be int64 of shape \[2, E\], .*int64 \(3, 2\)"),
    (dict(edge_index=torch.zeros(2, 2).int()), "edge_index must be int64 .* got torch.int32"),
    (dict(edge_index=torch.tensor([[0], [6]])), r"edge_index must lie in \[0, 6\), the rows of x, got 6"),
    (dict(edge_index=torch.tensor([[-1], [0]])), "edge_index must lie in .* got -1"),
    (dict(edge_weight=torch.ones(2)), r"edge_weight must be floating of shape \[E\] = \(3,\), .*float32 \(2,\)"),
    (dict(edge_weight=torch.ones(3).long()), "edge_weight must be floating .* got torch.int64"),
    (dict(edge_weight=torch.tensor([1, float("inf"), 1])), "edge_weight must be finite, got inf at edge 1"),
    (dict(y=torch.zeros(6)), r"y must be torch.int64 of shape \(6,\) .* got torch.float32"),
    (dict(y=torch.zeros(5).long()), r"y must be torch.int64 of shape \(6,\) .* \(5,\)"),
    (dict(y=torch.tensor([0, 3, 0, 0, 0, 0])), r"y must lie in \[0, 3\) for every node of the split, got 3 at node 1"),
    (dict(y=torch.tensor([0, 0, 0, -1, 0, 0])), "y must lie in .* got -1 at node 3"),
    ({**BINARY, "y": torch.zeros(6)}, r"y must be torch.float32 of shape \(6, 2\)"),
    ({**BINARY, "y": at(BINARY["y"], (2, 0), 0.5)}, "y must be 0 or 1 for every node of the split, got 0.5 at node 2"),
    ({**BINARY, "y": at(BINARY["y"], (2, 0), float("nan"))}, "y must be 0 or 1 .* got nan at node 2"),
    (dict(split={"train": torch.tensor([0])}), "split must have exactly the keys train, valid, test, got"),
    (dict(split=split(valid=torch.tensor([]).long())), r"split\['valid'\] must not be empty, got 0 nodes"),
    (dict(split=split(valid=[True])), r"split\['valid'\] must be int64 of shape \[n\], got torch.bool"),
    (dict(split=split(test=[3, 6])), r"split\['test'\] must lie in \[0, 6\), got 6"),
    (dict(split=split(test=[3, 1])), r"split\['test'\] must not overlap split\['train'\], got node 1 in both"),
    (dict(split=split(train=[0, 1, 0])), r"split\['train'\] must hold each node once, got node 0"),
]


@pytest.mark.parametrize("changes, message", REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_labels_outside_the_split_are_free():
    make(y=torch.tensor([0, 1, 2, 0, 1, -1]))
    make(**{**BINARY, "y": at(BINARY["y"], 5, float("nan"))})


def test_accepts_weights_and_no_edges():
    make(edge_weight=torch.ones(3))
    make(edge_index=torch.empty(2, 0, dtype=torch.long), edge_weight=torch.empty(0))


def test_is_frozen_and_compares_by_identity():
    data = make()
    with pytest.raises(AttributeError):
        data.name = "other"
    assert data == data and data != replace(data)


def test_accuracy_is_a_fraction_of_the_given_nodes():
    output = torch.nn.functional.one_hot(torch.tensor([0, 1, 0, 0, 0, 0]), 3).float().requires_grad_()
    data = make()
    assert data.score(output, torch.tensor([0, 1])) == 1.0
    assert data.score(output, torch.tensor([2, 3])) == 0.5
    assert data.score(output.bfloat16(), torch.tensor([2])) == 0.0


def test_rocauc_is_the_mean_over_tasks_with_both_classes():
    y = torch.tensor([[0, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 0, 1]]).float()
    data = make(metric="rocauc", num_outputs=3, y=y)
    output = torch.randn(6, 3)

    def area(task):
        ones, zeros = output[:4, task][y[:4, task] == 1], output[:4, task][y[:4, task] == 0]
        return float((ones[:, None] > zeros).float().mean())

    expected = np.mean([area(0), area(1)])
    assert data.score(output, torch.arange(4)) == pytest.approx(expected)


def test_score_refuses_a_wrong_shape():
    with pytest.raises(ValueError, match=r"output must have shape \(6, 3\), got \(6, 4\)"):
        make().score(torch.ones(6, 4), torch.tensor([0]))
