import math

import pytest
import torch

from multipath_gcn.prune import locality


def test_two_filters_by_hand():
    weight = torch.zeros(4, 2, 8, 8)
    weight[0, 0, 1, 1], weight[0, 1, 1, 1], weight[0, 0, 4, 5] = 1.0, -2.0, 1e-9  # two at one pixel, one 5 pixels away
    weight[1, :, 2:5, 3:6] = 1.0  # a whole window
    weight[2, 0, 0, 0] = 1.0  # one alone is nowhere
    found = locality(weight.flatten(1), (2, 8, 8), window=3)
    assert (found.filters, found.nonzeros) == (2, (3 + 18) / 2)
    assert found.share == pytest.approx((2 / 3 + 1) / 2)
    places = [(r, c) for r in range(3) for c in range(3) for _ in range(2)]
    pairs = [math.dist(p, q) for i, p in enumerate(places) for j, q in enumerate(places) if i != j]
    assert found.distance == pytest.approx((2 * 2 * 5 / 6 + sum(pairs) / len(pairs)) / 2)


def test_dense_filters_are_as_local_as_chance():
    found = locality(torch.randn(16, 3 * 32 * 32), (3, 32, 32))
    assert found.share == found.chance_share == pytest.approx(81 / 1024)
    assert found.distance == pytest.approx(found.chance_distance)


def test_local_filters_are_above_chance_and_thrown_ones_are_not():
    torch.manual_seed(0)
    weight = torch.zeros(64, 1, 32, 32)
    for o in range(64):
        row, column = torch.randint(0, 24, (2,)).tolist()
        weight[o, 0, row : row + 9, column : column + 9] = torch.rand(9, 9) < 0.5
    found = locality(weight, (1, 32, 32))
    assert found.share == pytest.approx(1) and found.distance < 6 < found.chance_distance
    assert 81 / 1024 < found.chance_share < 0.4
    thrown = (torch.rand(64, 1024) < 0.04).float()
    found = locality(thrown, (1, 32, 32))
    assert found.share == pytest.approx(found.chance_share, rel=0.1)
    assert found.distance == pytest.approx(found.chance_distance, rel=0.05)


def test_nothing_left_has_no_locality():
    found = locality(torch.zeros(3, 64), (1, 8, 8), window=3)
    assert found.filters == 0 and math.isnan(found.share)


@pytest.mark.parametrize(
    ("shape", "window", "told"),
    [
        ((3, 8, 8), 3, r"weight must read images of \[3, 8, 8\], got \[4, 64\]"),
        ((1, 8, 8), 9, r"window must lie in 1..8, got 9"),
    ],
)
def test_wrong_arguments_are_refused(shape, window, told):
    with pytest.raises(ValueError, match=told):
        locality(torch.ones(4, 64), shape, window)
