"""Networks on a GPU are pruned there."""

import pytest
import torch

from multipath_gcn.models import VGG, ResNet
from multipath_gcn.prune import AdaptivePruning, Budget, by_magnitude, by_norm_scale, compress
from multipath_gcn.prune.gates import GatedNorm


@pytest.mark.parametrize("method", [by_magnitude, by_norm_scale])
def test_what_is_left_is_where_the_network_was(cuda, method):
    torch.manual_seed(0)
    model, x = VGG(3, 10, stages=((8, 8), (16,))).to(cuda).eval(), torch.randn(4, 3, 16, 16, device=cuda)
    found = compress(model, (x,), Budget(macs=0.5), method, [(x,)])
    assert found.model(x).is_cuda and all(p.is_cuda for p in found.model.parameters())
    assert found.achieved["macs"] <= 0.5


def test_gates_are_trained_and_folded_on_the_device(cuda):
    torch.manual_seed(0)
    model, x = ResNet(3, 10, blocks=(2, 2), width=0.25).to(cuda).eval(), torch.randn(8, 3, 16, 16, device=cuda)

    def train(gated, stage, epochs, penalty, keep):
        for module in gated.modules():
            if isinstance(module, GatedNorm):
                assert module.gate.raw.is_cuda
                module.gate.raw.data[...] = 10.0
                if module.gate.raw.dim():
                    module.gate.raw.data[::2] = -10.0
        (gated.train()(x).sum() + penalty()).backward()

    found = AdaptivePruning().compress(model, (x,), train)
    assert found.achieved["channels"] == 2 * 16 // 2 + 2 * 32 // 2 and found.difference < 1e-4
    assert all(p.is_cuda for p in found.model.parameters())
