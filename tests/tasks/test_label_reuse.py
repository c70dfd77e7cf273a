import pytest
import torch

from multipath_gcn.tasks.label_reuse import LabelReuse

TARGETS = torch.eye(3)[torch.arange(30) % 3]
TRAIN = torch.arange(0, 30, 2)


def test_shows_and_trains_on_disjoint_halves():
    reuse, count = LabelReuse(TARGETS, TRAIN, 0.5), []
    for _ in range(200):
        given, trained = reuse.draw()
        assert torch.equal(torch.cat([given, trained]).sort().values, TRAIN)
        count.append(given.numel())
    assert sum(count) / len(count) == pytest.approx(7.5, abs=0.5)


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-7])
def test_neither_part_is_ever_empty(fraction):
    given, trained = LabelReuse(TARGETS, TRAIN, fraction).draw()
    assert given.numel() and trained.numel()


def test_columns_of_the_hidden_are_zero():
    x = torch.randn(30, 4)
    both = LabelReuse(TARGETS, TRAIN, 0.5).append(x, torch.tensor([2, 4]))
    assert torch.equal(both[:, :4], x)
    assert torch.equal(both[[2, 4], 4:], TARGETS[[2, 4]])
    assert both[:, 4:].sum() == 2


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_refuses(fraction):
    with pytest.raises(ValueError, match=rf"label_reuse must lie in \(0, 1\), got {fraction}"):
        LabelReuse(TARGETS, TRAIN, fraction)
