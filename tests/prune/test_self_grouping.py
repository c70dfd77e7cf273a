"""Which kernels a group of filters goes without."""

import numpy as np
import pytest
import torch

from multipath_gcn.prune import self_group
from multipath_gcn.prune.self_grouping import importance


def of_two_kinds():
    """Filters 0, 2, 4 read channels 0-3, filters 1, 3 channels 2-5; channel 2 and 3 twice as much."""
    weight = torch.full((5, 6, 3, 3), 0.01)
    weight[::2, :4] = 1.0
    weight[1::2, 2:] = 1.0
    weight[:, 2:4] *= 2
    return weight * torch.tensor([-1.0, 1.0, 1.0]).view(1, 1, 3, 1)


def test_importance_is_the_l1_norm_of_every_kernel():
    weight = torch.randn(3, 4, 2, 5)
    torch.testing.assert_close(importance(weight)[1, 2], weight[1, 2].abs().sum())
    assert torch.equal(importance(torch.tensor([[1.0, -2.0]])), torch.tensor([[1.0, 2.0]]))


def test_filters_that_read_alike_become_a_group():
    mask, found = self_group(of_two_kinds(), sparsity=1 / 3, groups=2)
    assert found.filters == ((0, 2, 4), (1, 3)) and found.inputs == ((0, 1, 2, 3), (2, 3, 4, 5))
    assert mask.tolist() == [[i % 2 == 0 or c > 1 if c < 4 else i % 2 == 1 for c in range(6)] for i in range(5)]
    assert found.pairs == 3 * 4 + 2 * 4 == mask.sum()


def test_a_cluster_counts_as_often_as_it_has_filters():
    """One percentile over the centroids of all filters: with half of the kernels off, the two read-most channels
    of every filter stay, and one more of three filters."""
    weight = of_two_kinds()
    weight[::2, 0] *= 1.5
    mask, _ = self_group(weight, sparsity=1 - 13 / 30, groups=2)
    assert mask.sum(1).tolist() == [3, 2, 3, 2, 3] and mask[:, 2:4].all() and mask[0, 0]


def test_what_is_off_stays_off_and_levels_follow_each_other():
    torch.manual_seed(0)
    weight = torch.randn(24, 32, 3, 3)
    before = torch.ones(24, 32, dtype=torch.bool)
    for sparsity in (0.25, 0.5, 0.75):
        mask, found = self_group(weight, sparsity, groups=6)
        assert not (mask & ~before).any()
        assert mask.double().mean() <= 1 - sparsity + 1e-9
        assert sorted(i for rows in found.filters for i in rows) == list(range(24)) and len(found.filters) <= 6
        for rows, columns in zip(found.filters, found.inputs, strict=True):
            assert set(columns) == set(mask[list(rows)].any(0).nonzero().flatten().tolist())
        weight, before = weight * mask[:, :, None, None], mask


def test_the_same_seed_gives_the_same_groups():
    weight = torch.randn(16, 16, 3, 3)
    one, two = (self_group(weight, 0.5, 4, seed=3) for _ in range(2))
    assert torch.equal(one[0], two[0]) and one[1] == two[1]


def test_fewer_different_filters_than_groups_are_fewer_groups():
    weight = torch.randn(1, 8, 3, 3).expand(6, -1, -1, -1)
    mask, found = self_group(weight, 0.5, groups=4)
    assert found.filters == (tuple(range(6)),) and np.array_equal(mask, mask[:1].expand(6, -1))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sparsity": 1.0}, r"sparsity must lie in \[0, 1\), got 1.0"),
        ({"sparsity": float("nan")}, r"sparsity must lie in \[0, 1\), got nan"),
        ({"sparsity": 0.5, "groups": 6}, "groups must lie in 1..5, the number of filters, got 6"),
        ({"sparsity": 0.5, "groups": 0}, "groups must lie in 1..5, the number of filters, got 0"),
    ],
)
def test_wrong_options_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        self_group(of_two_kinds(), **options)


def test_a_threshold_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"sparsity must leave something of a weight of \[4, 4, 1, 1\], 0.5 leaves"):
        self_group(torch.ones(4, 4, 1, 1), 0.5, groups=2)
