import pytest
import torch

from multipath_gcn.data import load_digits


def test_digits():
    data = load_digits()
    assert (data.name, data.metric, data.num_outputs, data.synthetic) == ("digits", "acc", 10, False)
    assert data.x.shape == (1797, 64) and data.x.min() == 0 and data.x.max() == 1
    assert torch.equal((data.x * 16).round() / 16, data.x)
    assert [len(data.split[part]) for part in ("train", "valid", "test")] == [50, 300, 1447]
    assert torch.bincount(data.y[data.split["train"]]).tolist() == [5] * 10


def test_neighbours_are_the_nearest():
    data = load_digits(neighbors=3)
    source, target = data.edge_index
    near = torch.cdist(data.x, data.x, compute_mode="donot_use_mm_for_euclid_dist")
    third = near.fill_diagonal_(float("inf")).sort(dim=1).values[:, 2]
    length = near[source, target]
    assert (length <= torch.maximum(third[source], third[target]) + 1e-6).all()
    assert torch.bincount(target, minlength=1797).min() >= 3
    assert data.edge_index.size(1) % 2 == 0 and (data.y[source] == data.y[target]).float().mean() > 0.95


def test_equal_arguments_equal_data(tmp_path, monkeypatch):
    first = load_digits()
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(tmp_path / "other"))
    second = load_digits()
    assert all(torch.equal(getattr(first, key), getattr(second, key)) for key in ("x", "edge_index", "y"))
    assert all(torch.equal(first.split[part], second.split[part]) for part in first.split)
    assert not torch.equal(first.split["train"], load_digits(split_seed=1).split["train"])


@pytest.mark.parametrize(
    "argument, value, message",
    [
        ("neighbors", 0, r"neighbors must be in \[1, 100\], got 0"),
        ("train_per_class", 101, r"train_per_class must be in \[1, 100\], got 101"),
        ("split_seed", -1, "split_seed must be at least 0, got -1"),
    ],
)
def test_refuses(argument, value, message):
    with pytest.raises(ValueError, match=message):
        load_digits(**{argument: value})
