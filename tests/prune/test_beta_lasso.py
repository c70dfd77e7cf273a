"""The update, by hand."""

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD

from multipath_gcn.prune import BetaLasso


def parameter(*values):
    found = nn.Parameter(torch.tensor(values, dtype=torch.float64))
    found.grad = torch.zeros_like(found)
    return found


def test_one_step_by_hand():
    theta = parameter([0.5, -0.5, 0.02, -0.02], [0.0, 0.011, -0.3, 0.0101])
    theta.grad = torch.tensor([[1.0, 1.0, 0.0, 0.0], [-0.2, 0.0, 0.0, 0.0]], dtype=torch.float64)
    BetaLasso([theta], lr=0.1, lam=0.005, beta=2.0).step()
    # theta - 0.1 grad - 0.0005 sign; then what lies below 0.01 is 0. The sign of 0 is 0.
    expected = [[0.3995, -0.5995, 0.0195, -0.0195], [0.02, 0.0105, -0.2995, 0.0]]
    torch.testing.assert_close(theta.detach(), torch.tensor(expected, dtype=torch.float64))


def test_the_threshold_does_not_hang_on_the_learning_rate():
    for lr in (0.0, 1e-6):
        theta = parameter([0.0099, 0.0101])
        BetaLasso([theta], lr=lr, lam=1e-3, beta=10.0).step()
        assert theta[0, 0] == 0 and theta[0, 1] > 0.01


def test_a_zero_comes_back_by_a_step_above_the_threshold_alone():
    theta = parameter([0.0, 0.0])
    theta.grad = torch.tensor([[-0.9, -1.1]], dtype=torch.float64)
    BetaLasso([theta], lr=0.1, lam=0.01, beta=10.0).step()
    assert theta.tolist() == [[0.0, pytest.approx(0.11)]]


def test_rows_and_columns_go_as_one():
    values = torch.tensor([[3.0, 4.0], [0.03, 0.04]], dtype=torch.float64)
    for dim in (0, 1):
        theta = nn.Parameter(values.clone() if dim == 0 else values.mT.clone())
        theta.grad = torch.zeros_like(theta)
        BetaLasso([theta], lr=0.5, lam=0.1, beta=1.0, dim=dim).step()
        mean_square = math.sqrt((3**2 + 4**2) / 2)
        found = theta.detach() if dim == 0 else theta.detach().mT
        torch.testing.assert_close(found[0], values[0] * (1 - 0.05 / mean_square))
        assert found[1].tolist() == [0.0, 0.0]
    theta = nn.Parameter(torch.zeros(2, 3, 3, 3))  # of a convolution; nothing is divided by 0
    theta.grad = torch.zeros_like(theta)
    BetaLasso([theta], dim=0).step()
    assert not theta.any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_without_strength_it_is_sgd(momentum):
    torch.manual_seed(0)
    start = [torch.randn(4, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)]
    results = []
    for make in (lambda p: BetaLasso(p, lr=0.1, lam=0.0, momentum=momentum), lambda p: SGD(p, 0.1, momentum)):
        theta = [nn.Parameter(value.clone()) for value in start]
        optimizer = make(theta)
        for _ in range(5):
            optimizer.zero_grad()
            (theta[0].sin().sum() + (theta[0].sum(1) * theta[1]).cos().sum()).backward()
            optimizer.step()
        results.append(theta)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def test_the_l1_term_has_no_momentum():
    theta = parameter([1.0])
    optimizer = BetaLasso([theta], lr=0.1, lam=0.01, beta=0.0, momentum=0.9)
    for _ in range(3):
        optimizer.step()
    assert theta.item() == pytest.approx(1 - 3 * 0.001)


def test_biases_and_norms_are_exempt_unless_asked():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    for vectors in (False, True):
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(1e-4)
                p.grad = torch.zeros_like(p)
        BetaLasso(model.parameters(), vectors=vectors).step()
        left = {name: bool(p.any()) for name, p in model.named_parameters()}
        assert left == {"0.weight": False, "0.bias": not vectors, "1.weight": not vectors, "1.bias": not vectors}


def test_groups_differ_and_a_group_is_exempt():
    one, two, three = parameter([1e-4]), parameter([1e-4]), parameter([1e-4])
    three.grad = None
    optimizer = BetaLasso([{"params": [one]}, {"params": [two], "lam": 0.0}, {"params": [three]}])
    assert optimizer.step(lambda: torch.tensor(7.0)).item() == 7
    assert (one.item(), two.item(), three.item()) == (0.0, 1e-4, 1e-4)


def test_it_goes_on_from_its_state():
    def steps(theta, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            theta.sin().sum().backward()
            optimizer.step()

    options = {"lr": 0.1, "lam": 1e-3, "beta": 1.0, "momentum": 0.9}
    whole = parameter([0.3, -0.7])
    steps(whole, BetaLasso([whole], **options), 6)
    part = parameter([0.3, -0.7])
    first = BetaLasso([part], **options)
    steps(part, first, 3)
    second = BetaLasso([part])
    second.load_state_dict(first.state_dict())
    steps(part, second, 3)
    assert torch.equal(whole, part)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lam": -1e-5}, "lam must be a finite number of at least 0, got -1e-05"),
        ({"lam": math.nan}, "lam must be a finite number of at least 0, got nan"),
        ({"beta": -1.0}, "beta must be a finite number of at least 0, got -1.0"),
        ({"beta": math.nan}, "beta must be a finite number of at least 0, got nan"),
        ({"lr": math.inf}, "lr must be a finite number of at least 0, got inf"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"dim": -1}, "dim must be None or a dimension from 0 on, got -1"),
        ({"dim": 2}, r"dim must be one that a parameter of shape \[1, 1\] has, got 2"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        BetaLasso([parameter([1.0])], **options)
    with pytest.raises(ValueError, match=told):
        BetaLasso([{"params": [parameter([1.0])], **options}])


def test_sparse_gradients_are_refused():
    table = nn.Embedding(5, 3, sparse=True)
    table(torch.tensor([1])).sum().backward()
    before = table.weight.detach().clone()
    with pytest.raises(ValueError, match="gradients must be dense for BetaLasso, got a sparse one"):
        BetaLasso(table.parameters()).step()
    assert torch.equal(table.weight, before)
