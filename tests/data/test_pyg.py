"""Tiny files in the true layout of each data set; the distributed ones have never been read by these tests."""

import numpy as np
import pytest
import scipy.sparse
import torch

from multipath_gcn.data import load_amazon, load_coauthor, load_cora_full, load_reddit
from multipath_gcn.data.cache import CorruptCache
from multipath_gcn.data.pyg import random_split
from multipath_gcn.data.roots import MissingData

N, EDGES = 20, np.array([[0, 1, 2, 3, 3], [1, 2, 0, 4, 3]])

NPZ = [
    (lambda: load_amazon("computers"), "amazon_computers", "amazon/Computers/raw/amazon_electronics_computers.npz"),
    (lambda: load_amazon("photo"), "amazon_photo", "amazon/Photo/raw/amazon_electronics_photo.npz"),
    (lambda: load_amazon("photo"), "amazon_photo", "Amazon/Photo/raw/amazon_electronics_photo.npz"),
    (load_coauthor, "coauthor_cs", "coauthor/CS/raw/ms_academic_cs.npz"),
    (lambda: load_coauthor("physics"), "coauthor_physics", "coauthor/Physics/raw/ms_academic_phy.npz"),
    (load_cora_full, "cora_full", "cora_full/cora/raw/cora.npz"),
]


def adjacency():
    return scipy.sparse.csr_matrix((np.ones(EDGES.shape[1]), EDGES), (N, N))


@pytest.fixture
def npz(root):
    def write(path):
        x = scipy.sparse.random(N, 6, density=0.5, format="csr", random_state=0, dtype=np.float32)
        (root.path / path).parent.mkdir(parents=True)
        parts = {
            f"{key}_{part}": getattr(matrix, part)
            for key, matrix in (("adj", adjacency()), ("attr", x))
            for part in ("data", "indices", "indptr", "shape")
        }
        np.savez(root.path / path, labels=np.arange(N) % 4, **parts)
        leftover = (root.path / path).parent.parent / "processed/data.pt"
        leftover.parent.mkdir()
        leftover.write_bytes(b"a pickle that nobody may open")
        root.seal()
        return torch.from_numpy((x.toarray() > 0).astype(np.float32))

    return write


@pytest.mark.parametrize("load, name, path", NPZ, ids=[path for _, _, path in NPZ])
def test_npz_data_sets(npz, load, name, path):
    x = npz(path)
    data = load()
    assert data.name == name and data.num_outputs == 4 and torch.equal(data.x, x)
    assert set(map(tuple, data.edge_index.T.tolist())) == {
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
        (0, 2),
        (2, 0),
        (3, 4),
        (4, 3),
    }  # undirected, PyG drops the loop
    assert [len(data.split[part]) for part in ("train", "valid", "test")] == [12, 4, 4]
    again = load()
    assert all(torch.equal(getattr(data, key), getattr(again, key)) for key in ("x", "edge_index", "y"))
    assert all(torch.equal(data.split[part], again.split[part]) for part in data.split)


def test_split_seed(npz):
    npz(NPZ[0][2])
    one, two = load_amazon("computers", split_seed=0), load_amazon("computers", split_seed=1)
    assert not torch.equal(one.split["train"], two.split["train"])


def test_reddit(root):
    raw = root.path / "reddit/raw"
    raw.mkdir(parents=True)
    x = np.random.default_rng(0).standard_normal((N, 5))
    kinds = np.array([1] * 12 + [2] * 3 + [3] * 5)
    np.savez(raw / "reddit_data.npz", feature=x, label=np.arange(N) % 3, node_types=kinds)
    scipy.sparse.save_npz(raw / "reddit_graph.npz", adjacency().tocoo())
    root.seal()
    for _ in range(2):
        data = load_reddit()
        assert np.allclose(data.x, x) and data.num_outputs == 3
        assert sorted(map(tuple, data.edge_index.T.tolist())) == sorted(map(tuple, EDGES.T.tolist()))
        assert data.split["valid"].tolist() == [12, 13, 14] and len(data.split["test"]) == 5


def test_changed_derived_file_is_kept_aside(npz, cache):
    npz(NPZ[3][2])
    first = load_coauthor()
    (derived,) = (cache / "derived").iterdir()
    next(derived.rglob("data.pt")).write_bytes(b"short")
    with pytest.raises(CorruptCache, match=r"corrupted cache file .*data\.pt"):
        load_coauthor()
    assert torch.equal(first.x, load_coauthor().x)
    assert derived.with_name(derived.name + ".corrupt").is_dir()


def test_unreadable_raw_file(root):
    raw = root.path / "cora_full/cora/raw"
    raw.mkdir(parents=True)
    (raw / "cora.npz").write_bytes(b"no archive")
    root.seal()
    with pytest.raises(ValueError, match=f"raw files in {raw} cannot be read"):
        load_cora_full()


@pytest.mark.parametrize(
    "load, path",
    [(load, path) for load, _, path in NPZ if not path.startswith("Amazon")]
    + [(load_reddit, "reddit/raw .*reddit_data.npz, reddit_graph.npz")],
)
def test_missing_without_network(load, path):
    folder, _, file = path.rpartition("/")
    with pytest.raises(MissingData, match=r"MULTIPATH_GCN_DATA is not set.*data=digits, data=synthetic") as caught:
        load()
    assert file.split(" .*")[-1] in str(caught.value) and folder in str(caught.value)


@pytest.mark.parametrize(
    "load, message",
    [
        (load_amazon, "name must be computers or photo, got 'books'"),
        (load_coauthor, "name must be cs or physics, got 'books'"),
    ],
)
def test_unknown_name(load, message):
    with pytest.raises(ValueError, match=message):
        load("books")


def test_random_split_covers_all_nodes():
    split = random_split(101, seed=3)
    assert torch.cat(list(split.values())).sort().values.tolist() == list(range(101))
    assert [len(nodes) for nodes in split.values()] == [60, 20, 21]
    assert all(torch.equal(split[part], random_split(101, seed=3)[part]) for part in split)


def test_a_manifest_in_the_data_root_is_the_users_own(root, cache, monkeypatch):
    raw = root.path / "amazon/Photo/raw"
    raw.mkdir(parents=True)
    (raw / "manifest.json").write_text('{"source": "mine"}')
    (raw / "amazon_electronics_photo.npz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot be read"):
        load_amazon("photo")
    assert sorted(path.name for path in raw.iterdir()) == ["amazon_electronics_photo.npz", "manifest.json"]
