import copy

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from multipath_gcn.prune import Budget, Similarity, by_magnitude, compress, cut, find_channels
from multipath_gcn.prune.moments import normal_pair, rectified


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip
    for norm in (model[1], model[4]):
        nn.init.uniform_(norm.weight, 0.5, 1.5), nn.init.normal_(norm.bias)
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    return model.eval()


@torch.no_grad()
def duplicated(model, conv, norm, reader, count):
    """The largest filters twice, read half and half: the function stays."""
    conv, norm, reader = model[conv], model[norm], model[reader]
    top = conv.weight.flatten(1).norm(dim=1).topk(count).indices
    width = len(conv.weight) + count
    conv.weight = nn.Parameter(torch.cat([conv.weight, conv.weight[top]]))
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(torch.cat([getattr(norm, name), getattr(norm, name)[top]])))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, torch.cat([getattr(norm, name), getattr(norm, name)[top]]))
    half = reader.weight.clone()
    half[:, top] /= 2
    reader.weight = nn.Parameter(torch.cat([half, half[:, top]], dim=1))
    conv.out_channels = norm.num_features = width
    setattr(reader, "in_channels" if isinstance(reader, nn.Conv2d) else "in_features", width)


def test_moments_after_relu_are_those_of_samples():
    generator = np.random.default_rng(0)
    factor = generator.normal(size=(5, 5))
    covariance, mean = factor @ factor.T, 1.5 * generator.normal(size=5)
    covariance[4] = covariance[:, 4] = 0  # a constant channel
    samples = np.maximum(generator.multivariate_normal(mean, covariance, size=1_000_000), 0)
    found_mean, found = rectified(mean, covariance)
    np.testing.assert_allclose(found_mean, samples.mean(0), atol=0.02)
    np.testing.assert_allclose(found, np.cov(samples.T), atol=0.05)


@pytest.mark.parametrize(
    ("h", "k", "rho"), [(0, 0, 0.5), (1, -1, 0.3), (-1, -2, -0.5), (0, 1, 0.99), (2, 0, -0.5), (1, 1, 0)]
)
def test_the_bivariate_normal_is_scipys(h, k, rho):
    wanted = multivariate_normal.cdf([h, k], [0, 0], [[1, rho], [rho, 1]])
    assert normal_pair(np.array(h), np.array(k), np.array(rho)) == pytest.approx(wanted, abs=1e-10)


def test_planted_duplicates_go_and_the_network_is_what_it_was():
    model, x = network(), torch.randn(4, 3, 16, 16)
    wanted = model(x)
    duplicated(model, 0, 1, 3, 4)
    duplicated(model, 3, 4, 8, 6)
    torch.testing.assert_close(model(x), wanted)
    similarity = Similarity(model, find_channels(model, x))
    smaller, plan = similarity.finish(model, 10)
    cut(smaller, plan)
    assert [len(units) for units in plan.removed.values()] == [4, 6]
    torch.testing.assert_close(smaller(x), wanted, rtol=0, atol=1e-5)


def test_magnitude_does_not_find_duplicates():
    model, x = network(), torch.randn(4, 3, 16, 16)
    wanted = model(x)
    duplicated(model, 0, 1, 3, 4)
    smaller = copy.deepcopy(model)
    cut(smaller, by_magnitude(model, find_channels(model, x)).plan(4))
    assert (smaller(x) - wanted).abs().max() > 1e-2


def test_a_constant_channel_is_folded_into_the_next_layer():
    model, x = network(), torch.randn(4, 3, 16, 16)
    model[4].weight.data[[2, 5]] = 0
    model[4].bias.data[[2, 5]] = torch.tensor([0.7, 1.3])
    wanted = model(x)
    similarity = Similarity(model, find_channels(model, x))
    smaller, plan = similarity.finish(model, 2)
    assert set(plan.removed["3"]) <= {2, 5} | set(range(24)) and plan.count == 2
    cut(smaller, plan)
    torch.testing.assert_close(smaller(x), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("metric", ["affine", "euclidean", "independent"])
@pytest.mark.parametrize("linkage", ["complete", "average"])
def test_every_metric_meets_the_budget(metric, linkage):
    model, x = network(), torch.randn(2, 3, 16, 16)
    before = copy.deepcopy(model.state_dict())
    method = lambda *args, **options: Similarity(*args, **options, metric=metric, linkage=linkage)  # noqa: E731
    found = compress(model, (x,), Budget(macs=0.5, round_to=2), method)
    assert found.achieved["macs"] <= 0.5
    assert found.model[0].out_channels % 2 == 0 and found.verification.difference < 1e-5
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_options_are_checked():
    model = network()
    channels = find_channels(model, torch.randn(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"metric must be one of .*got 'cosine'"):
        Similarity(model, channels, metric="cosine")
    with pytest.raises(ValueError, match=r"linkage must be one of .*got 'single'"):
        Similarity(model, channels, linkage="single")
