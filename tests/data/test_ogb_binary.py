import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from multipath_gcn.data import load_binary, load_papers100m, partitioned
from multipath_gcn.data.roots import MissingData
from multipath_gcn.tasks import ClusterTask

N = 40


def write(folder, save=np.savez_compressed, y=None, train=(0, 1, 2, 3, 4)):
    """A tiny graph in the layout of ogbn-papers100M."""
    rng = np.random.default_rng(0)
    (folder / "raw").mkdir(parents=True)
    edge_index = rng.integers(0, N, (2, 100))
    x = rng.standard_normal((N, 4)).astype(np.float32)
    y = np.where(np.arange(N) < 30, np.arange(N) % 3, np.nan)[:, None].astype(np.float32) if y is None else y
    save(folder / "raw/data.npz", edge_index=edge_index, node_feat=x, node_year=np.zeros((N, 1), np.int64),
         num_nodes_list=np.array([N]), num_edges_list=np.array([100]))  # fmt: skip
    save(folder / "raw/node-label.npz", node_label=y)
    (folder / "split/time").mkdir(parents=True)
    for part, ids in (("train", train), ("valid", range(10, 20)), ("test", range(20, 30))):
        with gzip.open(folder / f"split/time/{part}.csv.gz", "wt") as file:
            file.writelines(f"{i}\n" for i in ids)
    return x, edge_index


def spoil(path):
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-9])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_stay_in_files(tmp_path, save):
    x, edge_index = write(tmp_path / "raw", save)
    data = load_binary(tmp_path / "raw", "mine", 3)
    assert isinstance(data.x, np.memmap) and isinstance(data.edge_index, np.memmap) and isinstance(data.y, np.memmap)
    assert np.array_equal(data.x, x) and np.array_equal(data.edge_index, edge_index)
    assert data.y.dtype == np.int16 and data.y[:30].tolist() == [i % 3 for i in range(30)] and (data.y[30:] == -1).all()
    assert data.split["valid"].tolist() == list(range(10, 20)) and data.undirected and not data.synthetic


def test_papers_trains_from_the_data_root(tmp_path, monkeypatch):
    write(tmp_path / "data/ogbn_papers100M")
    monkeypatch.setenv("MULTIPATH_GCN_DATA", str(tmp_path / "data"))
    data = load_papers100m()
    assert data.name == "ogbn-papers100M" and data.num_outputs == 172
    task = ClusterTask(data, parts=4, method="contiguous")
    model = torch.nn.Linear(4, 172)
    call = type("Model", (torch.nn.Module,), {"forward": lambda self, x, graph: model(x)})()
    losses = list(task.train_losses(call, 1))
    assert losses and all(loss.requires_grad for loss in losses)
    assert set(task.evaluate(call)) == {"train", "valid", "test", "valid_loss"}


def test_papers_is_not_downloaded_unasked(tmp_path, monkeypatch):
    monkeypatch.delenv("MULTIPATH_GCN_DATA", raising=False)
    with pytest.raises(MissingData, match="57 GB are not downloaded unasked; unpack http"):
        load_papers100m()


def test_unpacked_once(tmp_path):
    write(tmp_path / "raw")
    first = load_binary(tmp_path / "raw", "mine", 3)
    written = Path(first.x.filename).stat().st_mtime_ns
    again = load_binary(tmp_path / "raw", "mine", 3)
    assert first.content == again.content and first.x.filename == again.x.filename
    assert Path(again.x.filename).stat().st_mtime_ns == written
    assert partitioned(first, 2, "contiguous").folder == partitioned(again, 2, "contiguous").folder


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: (folder / "raw/data.npz").unlink(), r"folder must hold .* without raw/data\.npz"),
        (lambda folder: (folder / "raw/data.npz").write_bytes(b"no archive"), r"data\.npz cannot be read: BadZipFile"),
        (lambda folder: spoil(folder / "raw/data.npz"), r"data\.npz cannot be read: "),
        (lambda folder: shorten(folder / "split/time/train.csv.gz"), r"train\.csv\.gz cannot be read: EOFError"),
    ],
)
def test_files_that_are_missing_or_damaged(tmp_path, prepare, message):
    write(tmp_path / "raw")
    prepare(tmp_path / "raw")
    with pytest.raises(ValueError, match=message):
        load_binary(tmp_path / "raw", "mine", 3)


@pytest.mark.parametrize(
    ("changes", "classes", "message"),
    [
        ({"train": range(5, 15)}, 3, r"split\['valid'\] must not overlap split\['train'\], got node 10 in both"),
        ({"train": [N]}, 3, r"split\['train'\] must lie in \[0, 40\), got 40"),
        ({}, 2, r"node_label must be NaN or a class in \[0, 2\), got 2.0 at node 2"),
        ({"y": np.full((N, 1), 65536, np.float32)}, 3, r"got 65536.0 at node 0"),
        ({"y": np.full((N, 1), 0.5, np.float32)}, 3, r"got 0.5 at node 0"),
        ({"y": np.full((N, 1), np.nan, np.float32)}, 3, r"y must lie in \[0, 3\) for every node .* got -1 at node 0"),
    ],
)
def test_refused(tmp_path, changes, classes, message):
    write(tmp_path / "raw", **changes)
    with pytest.raises(ValueError, match=message):
        load_binary(tmp_path / "raw", "mine", classes)
