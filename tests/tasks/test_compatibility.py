import math

import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.tasks.compatibility import (
    LOSSES,
    ale,
    compatibility,
    devise,
    eszsl,
    eszsl_closed_form,
    sje,
    softmax,
)


@pytest.fixture
def case():
    """9 examples, 6 classes, 5 attributes; scores large and small, so that hinges are on and off."""
    scores = 1.5 * torch.randn(9, 5, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 0, 2, 2])
    return scores, labels, torch.rand(6, 5, dtype=torch.float64)


def hinges(scores, labels, attributes, margin):
    """Of every example a list of (hinge of a wrong class), by the definition."""
    found = []
    for s, y in zip(scores.tolist(), labels.tolist(), strict=True):
        f = [sum(a * b for a, b in zip(s, row, strict=True)) / math.hypot(*row) for row in attributes.tolist()]
        found.append([max(0.0, margin + f[c] - f[y]) for c in range(len(f)) if c != y])
    return found


def test_compatibility_is_the_product_with_rows_of_unit_length(case):
    scores, _, attributes = case
    found = compatibility(scores, attributes)
    for n in range(9):
        for c in range(6):
            wanted = (scores[n] * attributes[c]).sum() / attributes[c].square().sum().sqrt()
            assert found[n, c].item() == pytest.approx(wanted.item())
    torch.testing.assert_close(compatibility(scores, 7 * attributes), found)


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_devise_is_the_sum_of_hinges(case, margin):
    wanted = sum(map(sum, hinges(*case, margin))) / 9
    assert devise(*case, margin).item() == pytest.approx(wanted)


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_ale_weighs_the_hinges_by_their_number(case, margin):
    wanted, counts = 0.0, set()
    for row in hinges(*case, margin):
        r = sum(h > 0 for h in row)
        counts.add(r)
        if r:
            wanted += sum(1 / i for i in range(1, r + 1)) / r * sum(row) / 9
    assert len(counts) > 2
    assert ale(*case, margin).item() == pytest.approx(wanted)


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_sje_is_the_largest_hinge(case, margin):
    wanted = sum(map(max, hinges(*case, margin))) / 9
    assert sje(*case, margin).item() == pytest.approx(wanted)


def test_eszsl_is_the_squared_distance_to_signs(case):
    scores, labels, attributes = case
    found = compatibility(scores, attributes)
    wanted = 0.0
    for n, y in enumerate(labels.tolist()):
        wanted += sum((found[n, c].item() - (1 if c == y else -1)) ** 2 for c in range(6)) / 9
    assert eszsl(*case).item() == pytest.approx(wanted)
    assert eszsl(*case, penalty=0.3).item() == pytest.approx(wanted + 0.3 * scores.square().sum().item() / 9)


def test_softmax_is_the_negative_log_likelihood(case):
    scores, labels, attributes = case
    found = compatibility(scores, attributes).tolist()
    wanted = sum(math.log(sum(map(math.exp, f))) - f[y] for f, y in zip(found, labels.tolist(), strict=True)) / 9
    assert softmax(*case).item() == pytest.approx(wanted)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(case, name):
    scores, labels, attributes = case
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, labels, attributes), scores.requires_grad_())


@pytest.mark.parametrize("name", ["ale", "devise", "sje"])
def test_nothing_is_lost_where_the_right_class_leads_by_the_margin(name):
    attributes, labels = torch.eye(4), torch.arange(4)
    scores = (1.5 * torch.eye(4)).requires_grad_()
    loss = LOSSES[name](scores, labels, attributes)
    loss.backward()
    assert loss.item() == 0 and scores.grad.abs().max() == 0


def test_two_classes_make_the_ranking_losses_one(case):
    scores, labels, attributes = case
    values = [LOSSES[name](scores, labels % 2, attributes[:2]).item() for name in ("ale", "devise", "sje")]
    assert values == pytest.approx([values[0]] * 3)


def test_a_linear_model_trained_by_eszsl_is_the_closed_form():
    n, gamma, penalty = 40, 0.7, 0.4
    x = torch.randn(n, 6, dtype=torch.float64)
    labels, attributes = torch.arange(n) % 5, torch.rand(5, 4, dtype=torch.float64)
    unit = F.normalize(attributes, dim=1)
    v = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [v], lr=1, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def step():
        optimizer.zero_grad()
        of_weights = gamma * (v @ unit.T).square().sum() + gamma * penalty * v.square().sum()
        loss = n * eszsl(x @ v, labels, attributes, penalty) + of_weights
        loss.backward()
        return loss

    optimizer.step(step)
    torch.testing.assert_close(v.detach(), eszsl_closed_form(x, labels, attributes, gamma, penalty), atol=1e-6, rtol=0)
