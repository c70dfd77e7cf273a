import pytest
import separable_networks as networks
import torch
from torch import nn


@pytest.mark.parametrize("network", networks.NETWORKS)
@pytest.mark.parametrize("convolution", ["standard", "dense", "sliding"])
def test_norms_are_folded_and_scores_stay(network, convolution):
    model = networks.build(network, convolution)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3), nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(2, 3, 32, 32)
    folded = networks.folded(model)
    left = [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not left or convolution == "sliding"  # whose convolution is followed by a gather
    assert len(left) < sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model.eval()(x), rtol=1e-3, atol=1e-3)


def test_cases_are_measured_and_written(tmp_path):
    rows = networks.measure("MobileNet", "inference, batch 1", 1, 0.01)
    assert {(row["convolution"], row["way"]) for row in rows} == {
        (kind, way + suffix)
        for kind in ("standard", "dense", "sliding")
        for way in ("ours", "torch", "torch_folded")
        for suffix in ("", "_last")
    }
    assert min(row["ratio"] for row in rows if row["convolution"] == "sliding" and "ours" in row["way"]) == 1
    text = networks.write(rows, {"command": "a test"}, tmp_path)
    assert "MobileNet, inference, batch 1: PyTorch's dense / our sliding" in text


def test_a_training_step_trains():
    model = networks.build("VGG16", "sliding")
    calls = networks.training(model, torch.randn(2, 3, 32, 32), torch.tensor([1, 2]))
    assert set(calls) == {"ours", "ours_last", "torch", "torch_last"}
    for call in calls.values():
        assert call() != call()
