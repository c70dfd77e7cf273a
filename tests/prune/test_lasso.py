import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn import models
from multipath_gcn.prune import Budget, LassoReconstruction, Reconstruction, compress, cut, find_channels, reconstruct
from multipath_gcn.prune.lasso import _lasso
from multipath_gcn.prune.sites import find_sites


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
    ).eval()  # fmt: skip


def data(batches=3, size=8, side=8):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(size, 3, side, side, generator=generator),) for _ in range(batches)]


def error(model, smaller, batches):
    with torch.no_grad():
        found = [(smaller(*batch) - model(*batch)).square().sum() for batch in batches]
    return float(sum(found))


def test_selection_is_that_of_the_lasso_on_the_samples_themselves():
    generator = np.random.default_rng(0)
    z = generator.normal(size=(500, 10)) * np.linspace(0.1, 2, 10)
    y = z.sum(1) + 0.1 * generator.normal(size=500)
    stays = _lasso(z.T @ z, z.T @ y, 4)
    from sklearn.linear_model import lars_path

    _, active, _ = lars_path(z, y, method="lasso", max_iter=4)
    assert sorted(stays.tolist()) == sorted(active[:4])


def test_least_squares_gives_the_weights_of_torch():
    """One layer, every place sampled: the fit is torch's solution of the same problem."""
    model, batches = network(), data()
    channels = find_channels(model, batches[0][0])
    options = Reconstruction(places=64, ridge=0.0, seed=0)
    work, plan = reconstruct(model, channels, {"0": 6}, batches, options)
    stays = [i for i in range(12) if i not in plan.removed["0"]]
    rows, wanted = [], []
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for (x,) in batches:
            h = model[1](model[0](x))
            y = model[2](h)
            at = torch.randint(64, (len(x), 64), generator=generator)
            columns = F.unfold(h, 3, padding=1).gather(2, at[:, None].expand(-1, 108, -1)).transpose(1, 2).flatten(0, 1)
            rows.append(columns.view(-1, 12, 9)[:, stays].flatten(1))
            wanted.append(y.flatten(2).gather(2, at[:, None].expand(-1, 8, -1)).transpose(1, 2).flatten(0, 1))
    x, y = torch.cat(rows).double(), torch.cat(wanted).double()
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1).double()], 1), y).solution
    torch.testing.assert_close(work[2].weight[:, stays].flatten(1).double(), solution[:-1].T, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(work[2].bias.double(), solution[-1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("select", ["lasso", "l1", "random"])
def test_least_squares_lowers_the_error(select):
    model, batches = network(), data()
    channels = find_channels(model, batches[0][0])
    errors = []
    for least_squares in (False, True):
        work, plan = reconstruct(model, channels, {"0": 6, "2": 4}, batches, Reconstruction(select, least_squares))
        cut(work, plan)
        errors.append(error(model, work, batches))
    assert errors[1] < errors[0] / 2


def test_lasso_chooses_better_than_chance():
    model, batches = network(), data()
    channels = find_channels(model, batches[0][0])
    found = {}
    for select, seeds in (("lasso", [0]), ("random", range(5))):
        for seed in seeds:
            work, _ = reconstruct(model, channels, {"0": 4, "2": 3}, batches, Reconstruction(select, False, seed=seed))
            found.setdefault(select, []).append(error(model, work, batches))
    assert found["lasso"][0] < np.median(found["random"])


def residual_network():
    torch.manual_seed(0)
    model = models.ResNet(3, 10, 18, width=0.125)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5), nn.init.normal_(norm.bias)
    return model.eval()


def test_residual_branches_rebuild_the_error_of_the_shortcut():
    model, batches = residual_network().double(), [(x.double(),) for (x,) in data(4, 8, 16)]  # no luck of rounding
    channels = find_channels(model, batches[0][0][:2])
    sites = find_sites(model, batches[0])
    assert any(site.summed for site in sites.values())
    keep = {group.name: max(1, len(group) // 2) for group in channels.groups if len(group.free) == len(group)}
    errors = []
    for shortcut_error in (False, True):
        work, plan = reconstruct(model, channels, keep, batches, Reconstruction(shortcut_error=shortcut_error))
        cut(work, plan)
        errors.append(error(model, work, batches))
    assert errors[1] < errors[0]


def test_the_budget_is_met_and_the_model_is_left_alone():
    model, batches = network(), data()
    before = copy.deepcopy(model.state_dict())
    found = compress(model, batches[0], Budget(macs=0.4), LassoReconstruction, batches)
    assert found.achieved["macs"] <= 0.4
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("batches", "rule"),
    [
        ([], "batches must hold calibration data"),
        ([*data(1), *data(1, 4)], r"batches must have one size, got \[4, 8\]"),
    ],
)
def test_data_is_checked(batches, rule):
    model = network()
    with pytest.raises(ValueError, match=rule):
        reconstruct(model, find_channels(model, *data()[0]), {"0": 6}, batches)


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"select must be one of .*got 'l2'"):
        Reconstruction("l2")
    model, batches = network(), data()
    with pytest.raises(ValueError, match=r"keep\['0'\] must lie in 1..12, got 0"):
        reconstruct(model, find_channels(model, *batches[0]), {"0": 0}, batches)
