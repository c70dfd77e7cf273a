import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from multipath_gcn.data import ogb
from multipath_gcn.data.cache import CorruptCache
from multipath_gcn.data.ogb import evaluator, ogb_facts, read_ogb
from multipath_gcn.data.ogb_layout import layout_files, layout_meta, write_layout
from multipath_gcn.data.ogbn import undirected

REPOSITORY = str(Path(__file__).parents[2])


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "layout"
    folder.mkdir()
    write_layout(
        folder,
        x=np.arange(12).reshape(4, 3) / 4,
        decimals=2,
        edge_index=np.array([[0, 1, 2], [1, 2, 0]]),
        y=np.array([0, 1, 1, 0]),
        split_name="time",
        split={"train": np.array([0]), "valid": np.array([1]), "test": np.array([3, 2])},
    )
    return folder


def read(raw, name="tiny"):
    return read_ogb(name, raw, layout_files("time"), undirected, layout_meta("time", 2))


def test_reads_what_was_written_now_and_again(raw, cache):
    for _ in range(2):
        data, split = read(raw)
        assert torch.equal(data.x, torch.arange(12).reshape(4, 3) / 4)
        assert data.edge_index.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
        assert data.y.tolist() == [0, 1, 1, 0] and split["test"].tolist() == [3, 2]
    assert [path.name.split("-")[0] for path in (cache / "derived").iterdir()] == ["tiny"]


def test_says_nothing(raw, capfd):
    read(raw)
    assert capfd.readouterr() == ("", "")


def test_torch_and_imports_stay_as_they_were(raw):
    before, present = torch.load, "outdated" in sys.modules
    read(raw)
    assert torch.load is before and ogb._ogb().dataset_pyg.torch is torch
    assert ("outdated" in sys.modules) == present and sys.modules.get("outdated", 0) is not None


def test_torch_comes_back_after_an_error(raw):
    (raw / "raw/edge.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=f"the raw files in {raw} cannot be read: BadGzipFile"):
        read(raw)
    assert ogb._ogb().dataset_pyg.torch is torch


def test_import_starts_no_thread_and_looks_for_no_update():
    code = (
        "import sys, threading\nfrom multipath_gcn.data.ogb import _ogb\n_ogb()\n"
        "assert threading.active_count() == 1, threading.enumerate()\nassert 'outdated' not in sys.modules\n"
        "from ogb.version import check_outdated\nassert check_outdated is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": REPOSITORY})


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_foreign_pickles_are_not_executed(tmp_path):
    torch.save(Bomb(tmp_path / "exploded"), tmp_path / "bomb.pt")
    torch.save({"x": torch.ones(2)}, tmp_path / "plain.pt")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/link.pt").symlink_to(tmp_path / "bomb.pt")
    with ogb._unpickling_below(tmp_path / "ours"):
        load = ogb._ogb().dataset_pyg.torch.load
        for path in ("bomb.pt", "ours/../bomb.pt", "ours/link.pt"):
            with pytest.raises(pickle.UnpicklingError):
                load(str(tmp_path / path))
        assert load(str(tmp_path / "plain.pt"))["x"].tolist() == [1, 1]
        torch.save(Data(num_nodes=np.int64(3)), tmp_path / "ours/own.pt")
        assert load(str(tmp_path / "ours/own.pt")).num_nodes == 3
    assert not (tmp_path / "exploded").exists()


def test_changed_derived_file_is_not_unpickled_but_kept_aside(raw, cache, tmp_path):
    first, _ = read(raw)
    (derived,) = (cache / "derived").iterdir()
    processed = next(derived.rglob("geometric_data_processed.pt"))
    torch.save((Bomb(tmp_path / "exploded"), None), processed)
    with pytest.raises(CorruptCache, match=f"corrupted cache file {processed}.*kept aside as {derived}.corrupt"):
        read(raw)
    assert not (tmp_path / "exploded").exists()
    again, _ = read(raw)
    assert torch.equal(first.x, again.x) and torch.equal(first.edge_index, again.edge_index)
    assert derived.with_name(derived.name + ".corrupt").is_dir()


def test_facts_are_ogbs_own():
    assert ogb_facts("ogbn-mag")["version"] == "2"
    assert ogb_facts("ogbn-proteins")["eval metric"] == "rocauc"


def test_evaluator_is_built_once():
    assert evaluator("acc", 1) is evaluator("acc", 1)
    assert evaluator("rocauc", 5).num_tasks == 5 and evaluator("rocauc", 112).num_tasks == 112
