import pytest
import torch

from multipath_gcn.tasks import ConsistencyLoss


def test_is_its_formula():
    scores = torch.randn(3, 5, 4, dtype=torch.float64)
    p = scores.softmax(-1)
    expected = 0.0
    for i in range(5):
        mean = sum(p[s, i] for s in range(3)) / 3
        target = mean**2 / (mean**2).sum()
        expected += sum(((p[s, i] - target) ** 2).sum() for s in range(3)) / 15
    torch.testing.assert_close(ConsistencyLoss(3, weight=2.0, temperature=0.5)(scores, 1), 2 * expected)


def test_cross_entropy_is_its_formula():
    scores = torch.randn(2, 5, 4, dtype=torch.float64)
    p = scores.softmax(-1)
    mean = p.mean(0)
    target = mean**2 / (mean**2).sum(-1, keepdim=True)
    expected = sum(-(target[i] * p[s, i].log()).sum() for s in range(2) for i in range(5)) / 10
    torch.testing.assert_close(ConsistencyLoss(distance="cross_entropy")(scores, 1), expected)


def test_certain_and_equal_passes_cost_nothing():
    scores = torch.tensor([[200.0, 0.0], [0.0, 200.0]]).expand(2, 2, 2)
    assert ConsistencyLoss()(scores, 1) == 0


def test_the_target_is_a_constant_for_the_gradient():
    scores = torch.randn(2, 3, 4, requires_grad=True)
    ConsistencyLoss(temperature=1.0)(scores, 1).backward()
    p = scores.detach().softmax(-1).requires_grad_()
    target = p.detach().mean(0)
    (p - target).square().sum(-1).mean().backward()
    q = p.detach()
    expected = q * (p.grad - (q * p.grad).sum(-1, keepdim=True))  # through the softmax
    torch.testing.assert_close(scores.grad, expected)


def test_the_weight_grows_over_the_first_epochs():
    scores, loss = torch.randn(2, 3, 4), ConsistencyLoss(ramp=10)
    full = ConsistencyLoss()(scores, 1)
    for epoch, part in ((1, 0.1), (5, 0.5), (10, 1.0), (99, 1.0)):
        torch.testing.assert_close(loss(scores, epoch), part * full)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(passes=1), "passes must be at least 2, got 1"),
        (dict(ramp=-1), "ramp must be 0 or more epochs, got -1"),
        (dict(weight=-1.0), "weight must be 0 or more, got -1.0"),
        (dict(distance="cosine"), r"distance must be one of \['squared', 'cross_entropy'\], got 'cosine'"),
        (dict(temperature=0.0), r"temperature must lie in \(0, 1\], got 0.0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ConsistencyLoss(**options)
