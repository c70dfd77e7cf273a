import os
import sys
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HYDRA_FULL_ERROR", "1")
sys.path.insert(0, str(Path(__file__).parent))  # for graphs.py


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def stock_computes(monkeypatch):
    """Call it with places ("y", "x", "weight"): there PyTorch's operator computes every convolution, ours elsewhere."""
    from multipath_gcn.ops import conv_dispatch

    def decide(*places):
        reasons = {place: "a test" if place in places else None for place in conv_dispatch.PLACES}

        def plan(x, last, dtype, device, weight, of, deterministic):
            return conv_dispatch.Plan(of, x[2:], weight[2:], reasons)

        monkeypatch.setattr(conv_dispatch, "_plan", plan)
        monkeypatch.setattr(conv_dispatch, "_known_plan", plan)

    return decide
