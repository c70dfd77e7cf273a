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
