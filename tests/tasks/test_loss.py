import math

import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.tasks import LogEpsilonLoss


def test_is_its_formula():
    scores, classes = torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    entropy = [F.cross_entropy(s[None], c[None]).item() for s, c in zip(scores, classes, strict=True)]
    expected = sum(math.log(0.5 + e) - math.log(0.5) for e in entropy) / 7
    assert LogEpsilonLoss(0.5)(scores, classes).item() == pytest.approx(expected)


def test_perfect_scores_cost_nothing_and_outliers_little():
    loss = LogEpsilonLoss()
    assert loss(torch.tensor([[100.0, 0.0]]), torch.tensor([0])) == 0
    assert loss(torch.tensor([[0.0, 100.0]]), torch.tensor([0])) < 6
    assert torch.autograd.gradcheck(
        lambda s: loss(s, torch.tensor([0, 1])), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    )


@pytest.mark.parametrize("epsilon", [0.0, -1.0])
def test_refuses(epsilon):
    with pytest.raises(ValueError, match=f"epsilon must be positive, got {epsilon}"):
        LogEpsilonLoss(epsilon)
