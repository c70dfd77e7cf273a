import gzip

import numpy as np

from multipath_gcn.data import ogb_layout
from multipath_gcn.data.ogb_layout import layout_files, write_layout

TABLES = dict(
    x=np.array([[-1.25, 0.5], [10.0, -0.004], [0.0, 3.0]]),
    decimals=2,
    edge_index=np.array([[0, 2], [1, 0]]),
    y=np.array([11, 0, 1]),
    split={"train": np.array([2]), "valid": np.array([0]), "test": np.array([1])},
)


def read(path):
    return gzip.decompress(path.read_bytes()).decode()


def test_writes_plain_csv(tmp_path):
    write_layout(tmp_path, **TABLES, split_name="random")
    assert read(tmp_path / "raw/node-feat.csv.gz") == "-1.25,0.50\n10.00,0.00\n0.00,3.00\n"
    assert read(tmp_path / "raw/edge.csv.gz") == "0,1\n2,0\n"
    assert read(tmp_path / "raw/node-label.csv.gz") == "11\n0\n1\n"
    assert read(tmp_path / "raw/num-node-list.csv.gz") == "3\n"
    assert read(tmp_path / "raw/num-edge-list.csv.gz") == "2\n"
    assert read(tmp_path / "split/random/train.csv.gz") == "2\n"


def test_lists_the_files_it_writes(tmp_path):
    write_layout(tmp_path, **TABLES, split_name="time")
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(layout_files("time"))


def test_chunks_change_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    tables = {
        **TABLES,
        "x": rng.standard_normal((50, 3)),
        "edge_index": rng.integers(0, 50, (2, 200)),
        "y": rng.integers(0, 4, 50),
    }
    for folder, size in (("one", 1 << 22), ("many", 7)):
        monkeypatch.setattr(ogb_layout, "_CHUNK", size)
        (tmp_path / folder).mkdir()
        write_layout(tmp_path / folder, **tables, split_name="random")
    for file in layout_files("random"):
        if file.endswith("gz"):
            assert read(tmp_path / "one" / file) == read(tmp_path / "many" / file)
