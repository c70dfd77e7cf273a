import pytest
from torch import nn

from multipath_gcn.models import GCN, ResGCN, build_matched, count_parameters, match_width
from multipath_gcn.nn import MultiPathGCN


@pytest.mark.parametrize("target", [1, 50, 1_000, 217_479, 1_081_350])
def test_is_the_closest_of_all_widths(target):
    def build(width):
        return GCN(50, width, 7)

    found = match_width(build, target)
    gap = abs(count_parameters(build(found)) - target)
    near = [w for w in range(max(1, found - 3), found + 4) if w != found]
    assert all(abs(count_parameters(build(w)) - target) >= gap for w in near)


def test_baselines_come_within_a_percent_of_the_reference():
    reference = MultiPathGCN(1433, 128, 7)
    for network in (GCN, ResGCN):
        built = build_matched(1433, 7, network, lambda **widths: MultiPathGCN(hidden_channels=128, **widths))
        assert isinstance(built, network)
        assert abs(count_parameters(built) / count_parameters(reference) - 1) < 0.01


def test_refuses():
    with pytest.raises(ValueError, match="parameters must be at least 1, got 0"):
        match_width(lambda width: GCN(5, width, 3), 0)


def test_refuses_a_network_that_does_not_grow():
    with pytest.raises(ValueError, match="build must give more parameters for a greater width, got 12 and then 12"):
        match_width(lambda width: nn.Linear(3, 3), 100)


def test_further_sizes_are_given_to_both():
    seen = []

    def network(in_channels, out_channels, hidden_channels, sides):
        seen.append(sides)
        return nn.Sequential(*(nn.Linear(in_channels * sides, hidden_channels) for _ in range(sides)))

    def reference(in_channels, out_channels, sides):
        seen.append(sides)
        return nn.Linear(in_channels, 12 * sides * out_channels)

    built = build_matched(5, 7, network, reference, sides=4)
    assert set(seen) == {4} and len(built) == 4
    assert count_parameters(built) == 24 * 84  # 4 (20 + 1) h, of 336 (5 + 1)
