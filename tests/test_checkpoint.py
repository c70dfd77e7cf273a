import random

import numpy as np
import pytest
import torch

from multipath_gcn.checkpoint import Checkpoint, CorruptCheckpoint
from multipath_gcn.fit import Progress

CPU = torch.device("cpu")


def draw():
    return torch.rand(3).tolist(), random.random(), np.random.rand(), np.random.randn()


def test_restores_parts_generators_and_record(tmp_path):
    model = torch.nn.Linear(3, 2)
    checkpoint = Checkpoint(tmp_path, {"model": model})
    np.random.randn()  # leaves a cached second normal value in NumPy's state
    weight = model.weight.clone()
    checkpoint.save({"history": [{"epoch": 1, "loss": 0.5}], "best": None})
    expected = draw()
    torch.nn.init.zeros_(model.weight)
    assert checkpoint.load(CPU, dict) == {"history": [{"epoch": 1, "loss": 0.5}], "best": None}
    assert torch.equal(model.weight, weight)
    assert draw() == expected


def test_no_file_is_a_fresh_start(tmp_path):
    assert Checkpoint(tmp_path, {}).load(CPU, dict) is None


@pytest.mark.parametrize("damage", ["truncated", "not a checkpoint", "other network"])
def test_a_damaged_file_is_named_and_kept(tmp_path, damage):
    checkpoint = Checkpoint(tmp_path, {"model": torch.nn.Linear(3, 2)})
    checkpoint.save({})
    content = checkpoint.path.read_bytes()
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "not a checkpoint":
        content = b"hello"
    else:
        checkpoint.parts = {"model": torch.nn.Linear(5, 2)}
    checkpoint.path.write_bytes(content)
    with pytest.raises(
        CorruptCheckpoint, match=r"(?s)checkpoint .*checkpoint.pt cannot be read .* kept as checkpoint.pt.corr"
    ):
        checkpoint.load(CPU, dict)
    assert (tmp_path / "checkpoint.pt.corrupt").read_bytes() == content
    assert checkpoint.load(CPU, dict) is None


def test_a_record_of_other_fields_is_damage_too(tmp_path):
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"unknown": 1})
    with pytest.raises(CorruptCheckpoint, match=r"TypeError.*kept as checkpoint.pt.corrupt"):
        checkpoint.load(CPU, lambda record: Progress(**record))
    assert (tmp_path / "checkpoint.pt.corrupt").exists()
