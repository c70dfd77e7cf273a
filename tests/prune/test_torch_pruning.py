"""Against Torch-Pruning: its importances here, ours there, and what it gets wrong."""

from functools import partial

import pytest
import torch
from torch import nn

from multipath_gcn.prune import Budget, compress, find_channels, magnitude
from multipath_gcn.prune.torch_pruning import GroupImportance, by_torch_pruning

tp = pytest.importorskip("torch_pruning")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Conv2d(24, 10, 1)
    )  # fmt: skip


@pytest.mark.parametrize("importance", [None, tp.importance.LAMPImportance(), tp.importance.FPGMImportance()])
def test_its_importances_choose_and_we_remove(importance):
    x = torch.randn(2, 3, 9, 9)
    found = compress(network(), (x,), Budget(macs=0.5), partial(by_torch_pruning, importance=importance), [(x,)])
    assert found.achieved["macs"] <= 0.5 and found.verification.difference < 1e-5


def test_our_scores_drive_its_pruner():
    model, x = network(), torch.randn(2, 3, 9, 9)
    channels = find_channels(model, x)
    scores = magnitude(model, channels, p=1)
    importance = GroupImportance(model, channels, scores)
    pruner = tp.pruner.BasePruner(model, x, importance, pruning_ratio=0.5, ignored_layers=[model[5]])
    weakest = scores["0"].argsort()[:8]
    first = model[0].weight.detach().clone()
    pruner.step()
    stays = [i for i in range(16) if i not in weakest]
    assert torch.equal(model[0].weight, first[stays])


def test_without_an_example_it_is_refused():
    model = network()
    with pytest.raises(ValueError, match="batches must hold an example for Torch-Pruning"):
        by_torch_pruning(model, find_channels(model, torch.randn(1, 3, 9, 9)))
