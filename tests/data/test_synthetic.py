import logging

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from multipath_gcn.data import load_synthetic
from multipath_gcn.data.cache import CorruptCache

SMALL = dict(num_nodes=200, mean_degree=4.0, num_features=5, num_classes=4)


def test_is_what_was_asked_for(cache):
    data = load_synthetic(num_nodes=1000, mean_degree=6.0, num_features=9, num_classes=5, homophily=0.7)
    assert data.synthetic and (data.name, data.metric, data.num_outputs) == ("synthetic", "acc", 5)
    assert data.x.shape == (1000, 9) and data.edge_index.shape == (2, 6000)
    assert [len(data.split[part]) for part in ("train", "valid", "test")] == [500, 200, 300]
    source, target = data.edge_index
    assert float((data.y[source] == data.y[target]).float().mean()) == pytest.approx(0.7, abs=1e-3)
    assert torch.equal((data.x * 100).round() / 100, data.x)
    assert not any("ogbn" in path.name for path in cache.rglob("*"))


def test_neighbours_tell_what_features_do_not():
    data = load_synthetic()
    train, test = data.split["train"], data.split["test"]
    source, target = data.edge_index
    mean = data.x.clone().index_add_(0, target, data.x[source]) / (1 + torch.bincount(target, minlength=2000))[:, None]

    def accuracy(x):
        return LogisticRegression(max_iter=500).fit(x[train], data.y[train]).score(x[test], data.y[test])

    alone, together = accuracy(data.x), accuracy(mean)
    assert 0.3 < alone < 0.7 and alone + 0.1 < together < 0.95


def test_equal_arguments_equal_data(cache, tmp_path, monkeypatch):
    first = load_synthetic(**SMALL)
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(tmp_path / "other"))
    for same in (load_synthetic(**SMALL), load_synthetic(**{**SMALL, "mean_degree": 4})):
        assert all(torch.equal(getattr(first, key), getattr(same, key)) for key in ("x", "edge_index", "y"))
    assert len(list((tmp_path / "other/generated").iterdir())) == 1
    for key, value in (("seed", 1), ("homophily", 0.2), ("signal", 3.0)):
        other = load_synthetic(**SMALL, **{key: value})
        assert not (torch.equal(first.x, other.x) and torch.equal(first.edge_index, other.edge_index))


def test_writing_and_loading_are_logged_apart(caplog):
    caplog.set_level(logging.INFO)
    load_synthetic(**SMALL)
    assert "written in" in caplog.text and "loaded in" in caplog.text
    caplog.clear()
    load_synthetic(**SMALL)
    assert "written in" not in caplog.text and "loaded in" in caplog.text


def test_changed_csv_is_kept_aside_and_written_anew(cache):
    first = load_synthetic(**SMALL)
    (folder,) = (cache / "generated").iterdir()
    (folder / "raw/node-feat.csv.gz").write_bytes(b"changed")
    with pytest.raises(CorruptCache, match=r"node-feat\.csv\.gz"):
        load_synthetic(**SMALL)
    assert torch.equal(first.x, load_synthetic(**SMALL).x)
    assert (folder.with_name(folder.name + ".corrupt") / "raw/node-feat.csv.gz").read_bytes() == b"changed"


@pytest.mark.parametrize(
    "argument, value, message",
    [
        ("num_nodes", 5, "num_nodes must be at least 10, got 5"),
        ("mean_degree", 0, r"mean_degree must be in \(0, num_nodes / 4 = 50.0\], got 0.0"),
        ("num_features", 0, "num_features must be at least 1, got 0"),
        ("num_classes", 1, "num_classes must be in .* got 1"),
        ("homophily", 1.5, r"homophily must be in \[0, 1\], got 1.5"),
        ("degree_exponent", 2, "degree_exponent must be above 2, got 2.0"),
        ("signal", float("nan"), "signal must be in .* got nan"),
        ("train", 1, r"train must be in \(0, 1\), got 1.0"),
        ("valid", 0.5, r"valid must be in \(0, 1 - train = 0.5\), got 0.5"),
        ("seed", -1, "seed must be at least 0, got -1"),
        ("name", "ogbn-arxiv", "name must be made of letters, .* without ogbn, got 'ogbn-arxiv'"),
        ("name", "../up", "name must be made of letters, digits, _ and -, .* got '../up'"),
    ],
)
def test_refuses(argument, value, message, cache):
    with pytest.raises(ValueError, match=message):
        load_synthetic(**{**SMALL, argument: value})
    assert not cache.exists()


def test_split_parts_do_not_depend_on_class_order():
    data = load_synthetic(**SMALL)
    assert len(np.unique(data.y[data.split["train"]])) == 4
