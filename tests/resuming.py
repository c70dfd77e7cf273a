"""Training that is cut off and goes on."""

from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from multipath_gcn.fit import fit


def history(task, make: Callable[[], nn.Module], folder: Path, *lengths: int) -> list[dict]:
    """All epochs but their seconds, after one start for each of ``lengths``, each to that number of epochs."""
    folder.mkdir()
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(1)
    for epochs in lengths:
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        model, optimizer = fabric.setup(model, optimizer)
        options = {"fabric": fabric, "directory": folder, "epochs": epochs, "checkpoint_seconds": 0}
        progress = fit(task, model, optimizer, **options)
    return [{key: value for key, value in row.items() if key != "seconds"} for row in progress.history]
