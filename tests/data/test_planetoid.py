import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from multipath_gcn.data import load_planetoid
from multipath_gcn.data.planetoid import UntrustedFile
from multipath_gcn.data.roots import MissingData

REAL = os.environ.get("MULTIPATH_GCN_DATA")
TRAIN, POOL, TEST = 4, 510, 6  # PyG's reader takes the 500 nodes after the training nodes to validate


@pytest.fixture
def planetoid(root):
    """Write tiny files in Planetoid's layout and return their digests; ``gap`` leaves CiteSeer's isolated test node."""

    def write(folder, name, gap=False):
        rng = np.random.default_rng(0)
        below = root.path / "planetoid" / folder / "raw"
        below.mkdir(parents=True)
        nodes = POOL + TEST + gap
        test = [node for node in range(POOL, nodes) if not (gap and node == POOL + 2)]

        def features(count):
            return scipy.sparse.csr_matrix(rng.integers(0, 3, (count, 9)).astype(np.float32))

        def labels(count):
            return np.eye(3, dtype=np.int32)[rng.integers(0, 3, count)]

        graph = {node: [(node + 1) % nodes, (node - 1) % nodes] for node in range(nodes)}
        x, y = features(POOL), labels(POOL)
        files = {
            "x": x[:TRAIN],
            "tx": features(TEST),
            "allx": x,
            "y": y[:TRAIN],
            "ty": labels(TEST),
            "ally": y,
            "graph": graph,
        }
        for file, content in files.items():
            (below / f"ind.{name}.{file}").write_bytes(pickle.dumps(content, protocol=2))
        (below / f"ind.{name}.test.index").write_text("".join(f"{node}\n" for node in reversed(test)))
        root.seal()
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in below.iterdir()}

    return write


@pytest.mark.parametrize("folder, gap", [("Cora", 0), ("CiteSeer", 1), ("PubMed", 0)])
def test_reads_planetoid_files(planetoid, folder, gap):
    name = folder.lower()
    digests = planetoid(folder, name, gap=bool(gap))
    data = load_planetoid(name, sha256=digests)
    assert data.x.shape == (POOL + TEST + gap, 9) and data.num_outputs == 3 and data.metric == "acc"
    assert [len(data.split[part]) for part in ("train", "valid", "test")] == [TRAIN, 500, TEST]
    rows = data.x.sum(dim=1)
    assert torch.allclose(rows[rows > 0], torch.ones(()))
    assert data.edge_index.size(1) == 2 * data.x.size(0)
    if gap:
        assert not data.x[POOL + 2].any() and POOL + 2 not in data.split["test"]
    again = load_planetoid(name, sha256=digests)
    assert torch.equal(data.x, again.x) and torch.equal(data.edge_index, again.edge_index)
    assert load_planetoid(name, normalize_features=False, sha256=digests).x.max() == 2


def test_unknown_files_are_not_unpickled(planetoid, root, tmp_path):
    digests = planetoid("PubMed", "pubmed")

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    bomb = root.path / "planetoid/PubMed/raw/ind.pubmed.graph"
    bomb.write_bytes(pickle.dumps(Bomb()))
    root.seal()
    seen = hashlib.sha256(bomb.read_bytes()).hexdigest()
    with pytest.raises(UntrustedFile, match=f"sha256 must know every .*PubMed/raw, .* ind.pubmed.graph: {seen}"):
        load_planetoid("pubmed", sha256=digests)
    with pytest.raises(UntrustedFile, match=r"ind\.pubmed\.x: .*If you trust these files"):
        load_planetoid("pubmed")
    assert not (tmp_path / "exploded").exists()


def test_missing_without_network(root):
    with pytest.raises(MissingData, match=f"cora: .*{root.path}.*planetoid/Cora/raw .*ind.cora.x.*data=digits"):
        load_planetoid("cora")


def test_downloads_into_the_cache(planetoid, root, cache, monkeypatch):
    digests = planetoid("Cora", "cora")
    source = root.path.rename(root.path.with_name("server"))
    root.path.mkdir()
    root.seal()

    def fetch(url, path):
        path.write_bytes((source / "planetoid/Cora/raw" / url.rpartition("/")[2]).read_bytes())

    monkeypatch.setattr("multipath_gcn.data.download.fetch", fetch)
    with pytest.raises(UntrustedFile, match=r"not known: ind\.cora\.x"):
        load_planetoid("cora")
    assert list(cache.rglob("ind.*")) == []
    assert load_planetoid("cora", sha256=digests).x.size(0) == POOL + TEST
    assert (cache / "planetoid/Cora/raw/ind.cora.graph").is_file()


def test_unknown_name():
    with pytest.raises(ValueError, match="name must be one of cora, citeseer, pubmed, got 'dblp'"):
        load_planetoid("dblp")


@pytest.mark.parametrize(
    "name, nodes, edges, features, classes",
    [("cora", 2708, 10556, 1433, 7), ("citeseer", 3327, 9104, 3703, 6), ("pubmed", 19717, 88648, 500, 3)],
)
def test_real_files(name, nodes, edges, features, classes, monkeypatch):
    folder = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}[name]
    if not REAL or not (Path(REAL) / "planetoid" / folder / "raw").is_dir():
        pytest.skip(f"MULTIPATH_GCN_DATA holds no planetoid/{folder}")
    monkeypatch.setenv("MULTIPATH_GCN_DATA", REAL)
    data = load_planetoid(name)
    assert data.x.shape == (nodes, features) and data.edge_index.size(1) == edges and data.num_outputs == classes
    assert [len(data.split[part]) for part in ("train", "valid", "test")] == [20 * classes, 500, 1000]
