import pytest
import torch
from torch import nn

from multipath_gcn.nn.gradient_reversal import reverse_gradient


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 2.5])
def test_the_gradient_is_that_of_finite_differences_reversed(scale):
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, dtype=torch.float64)

    def loss(values):
        return (values.sin() @ weight).square().sum()

    value = loss(reverse_gradient(x, scale))
    assert torch.equal(value, loss(x))
    value.backward()
    step = 1e-6
    for i in range(4):
        for j in range(3):
            moved = torch.zeros_like(x)
            moved[i, j] = step
            slope = (loss(x + moved) - loss(x - moved)) / (2 * step)
            assert x.grad[i, j].item() == pytest.approx(-scale * slope.item(), abs=1e-7)


def test_it_is_the_identity_and_leaves_its_input_alone():
    x = torch.randn(2, 3)
    y = reverse_gradient(x, 0.5)
    assert torch.equal(x, y) and not y.requires_grad
    y = reverse_gradient(x.requires_grad_(), 0.5)
    with torch.no_grad():
        assert torch.equal(y, x)


def test_what_follows_learns_forwards_and_what_precedes_backwards():
    torch.manual_seed(0)
    below, above, x = nn.Linear(3, 2), nn.Linear(2, 1), torch.randn(5, 3)

    def gradients(reverse):
        below.zero_grad(), above.zero_grad()
        z = below(x)
        above(reverse_gradient(z, 0.25) if reverse else z).square().mean().backward()
        return [p.grad.clone() for p in (*below.parameters(), *above.parameters())]

    plain, reversed_ = gradients(False), gradients(True)
    for before, after in zip(plain[:2], reversed_[:2], strict=True):
        torch.testing.assert_close(after, -0.25 * before)
    for before, after in zip(plain[2:], reversed_[2:], strict=True):
        torch.testing.assert_close(after, before)
