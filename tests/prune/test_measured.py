from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import GCN

from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.ops import graph_transform
from multipath_gcn.prune import Budget, Similarity, compress, cut, find_channels
from multipath_gcn.prune.macs import macs
from multipath_gcn.prune.measured import measured


def network(groups=1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=groups), nn.ReLU(),
        nn.MaxPool2d(3), nn.Flatten(), nn.Linear(12 * 4, 5),
    ).eval()  # fmt: skip


def batches(count=3):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 3, 12, 12, generator=generator),) for _ in range(count)]


def test_moments_are_those_of_what_layers_read():
    model, data = network(), batches()
    found = measured(model, find_channels(model, *data[0]), data)
    with torch.no_grad():
        first = torch.cat([model[:3](x) for (x,) in data]).movedim(1, -1).reshape(-1, 8)
        second = torch.cat([model[:6](x) for (x,) in data]).movedim(1, -1).reshape(-1, 12)  # read behind a flatten
    for name, rows in (("0", first), ("3", second)):
        mean, covariance = found[name]
        np.testing.assert_allclose(mean, rows.mean(0), atol=1e-6)
        np.testing.assert_allclose(covariance, np.cov(rows.T, bias=True), atol=1e-6)


def test_a_group_read_in_parts_only_is_not_measured():
    model, data = network(groups=2), batches(1)
    channels = find_channels(model, *data[0])
    assert set(measured(model, channels, data)) == {"3"}
    assert {tree.group.name for tree in Similarity(model, channels, data, moments="data").trees} == {"0", "3"}


def test_of_several_readers_the_mean():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            x = self.a(x)
            x = x + self.b(torch.relu(x))
            return self.c(torch.relu(x))

    torch.manual_seed(0)
    model, x = Twice(), torch.randn(50, 3)
    found = measured(model, find_channels(model, x), [(x,)])["a"]
    with torch.no_grad():
        a = model.a(x)
        reads = [torch.relu(a), torch.relu(a + model.b(torch.relu(a)))]
    np.testing.assert_allclose(found[0], sum(read.mean(0) for read in reads) / 2, atol=1e-6)
    np.testing.assert_allclose(found[1], sum(np.cov(read.T, bias=True) for read in reads) / 2, atol=1e-6)


def test_duplicates_of_a_graph_network_without_norms_are_found_in_data():
    torch.manual_seed(0)
    model = GCN(6, 8, 2, 3).eval()
    x, edges = torch.rand(200, 6), torch.randint(200, (2, 900))
    first = model.convs[0]
    with torch.no_grad():
        first.bias.normal_(std=0.1)
        first.lin.weight[[5, 7]], first.bias[[5, 7]] = first.lin.weight[[1, 2]], first.bias[[1, 2]]
    wanted = model(x, edges)
    chosen = Similarity(model, find_channels(model, x, edges), [(x, edges)], moments="data")
    smaller, plan = chosen.finish(model, 2)
    cut(smaller, plan)
    assert len(smaller.convs[0].bias) <= 6  # of two equal pairs one each, and what is never above zero
    torch.testing.assert_close(smaller(x, edges), wanted, rtol=0, atol=1e-5)


def test_first_layers_of_several_paths_are_seen_although_they_run_as_one():
    torch.manual_seed(0)
    model = MultiPathGCN(7, 16, 3, paths=((16,), (12, 16), ())).eval()
    x, edges = torch.rand(50, 7), torch.randint(50, (2, 200))
    channels = find_channels(model, x, edges)
    assert set(measured(model, channels, [(x, edges)])) >= {g.name for g in channels.groups if len(g.free)}
    assert not any(block._forward_hooks for path in model.paths for block in path)


def test_batches_that_a_model_writes_into_are_left_alone():
    model, data = nn.Sequential(nn.ReLU(inplace=True), *network()), batches(2)
    before = [x.clone() for (x,) in data]
    measured(model, find_channels(model, *data[0]), data)
    assert all(torch.equal(x, old) for (x,), old in zip(data, before, strict=True))


def test_too_few_places_are_not_counted():
    model, data = network(), [(torch.randn(1, 3, 12, 12),)]
    channels = find_channels(model, *data[0])
    assert set(measured(model, channels, data)) == {"0"}  # 4 places of 12 channels behind the flatten
    held = Similarity(model, channels, data, moments="data").left_alone
    assert held == ["moments of '3' are those of weights: no layer reads it as a whole, in more places than channels"]


def test_data_are_needed_and_options_checked():
    model, data = network(), batches(1)
    channels = find_channels(model, *data[0])
    with pytest.raises(ValueError, match="batches must hold calibration data for moments='data', got none"):
        Similarity(model, channels, moments="data")
    with pytest.raises(ValueError, match=r"moments must be one of .*got 'images'"):
        Similarity(model, channels, data, moments="images")


def test_large_graphs_take_the_path_that_can_be_followed(monkeypatch):
    """On large graphs layers write into memory that is kept; who follows operators must see plain ones."""
    torch.manual_seed(0)
    model = MultiPathGCN(7, 16, 3, paths=((), (16,)), combine="mean")
    inputs = torch.randn(30, 7), torch.randint(30, (2, 90))
    with torch.no_grad():
        model(*inputs)
    counted = macs(model, *inputs)
    monkeypatch.setattr(graph_transform, "LEAST", 0)
    assert macs(model, *inputs) == counted
    found = compress(model, inputs, Budget(parameters=0.5), partial(Similarity, moments="data"), [inputs])
    assert found.achieved["parameters"] <= 0.5 and found.verification.difference < 1e-5
