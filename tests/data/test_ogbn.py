"""Tiny files in the true layout of each data set; the distributed ones have never been read by these tests."""

import numpy as np
import pytest
import torch

from multipath_gcn.data import load_ogbn
from multipath_gcn.data.roots import MissingData

N, EDGES = 7, [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 0)]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 5)).astype(np.float32).round(3)
EDGE_FEATURES = RNG.random((len(EDGES), 8)).round(3)


@pytest.fixture
def homogeneous(root, write_csv):
    def write(name, split, labels, x=X, edge_features=None, **node_tables):
        folder = root.path / name.replace("-", "_")
        for file, rows in {
            "edge": EDGES,
            "num-node-list": [[N]],
            "num-edge-list": [[len(EDGES)]],
            "node-label": labels,
            "node-feat": x,
            "edge-feat": edge_features,
            **node_tables,
        }.items():
            if rows is not None:
                write_csv(folder / f"raw/{file}.csv.gz", rows)
        for part, nodes in {"train": [0, 1, 2], "valid": [3, 4], "test": [5, 6]}.items():
            write_csv(folder / f"split/{split}/{part}.csv.gz", [[node] for node in nodes])
        (folder / "RELEASE_v1.txt").touch()
        for leftover in ("processed/geometric_data_processed.pt", f"split/{split}/split_dict.pt"):
            (folder / leftover).parent.mkdir(exist_ok=True)
            (folder / leftover).write_bytes(b"a pickle that nobody may open")
        root.seal()

    return write


def equal(one, two):
    return all(torch.equal(getattr(one, key), getattr(two, key)) for key in ("x", "edge_index", "y"))


def test_arxiv(homogeneous):
    homogeneous("ogbn-arxiv", "time", [[node % 3] for node in range(N)], node_year=[[2015]] * N)
    data = load_ogbn("ogbn-arxiv")
    assert (data.name, data.metric, data.num_outputs, data.synthetic) == ("ogbn-arxiv", "acc", 40, False)
    assert torch.equal(data.x, torch.from_numpy(X)) and data.y.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert set(map(tuple, data.edge_index.T.tolist())) == {*EDGES, *((b, a) for a, b in EDGES)}
    assert {part: nodes.tolist() for part, nodes in data.split.items()} == {
        "train": [0, 1, 2],
        "valid": [3, 4],
        "test": [5, 6],
    }
    assert equal(data, load_ogbn("ogbn-arxiv"))


def test_arxiv_without_a_label_outside_the_split(homogeneous, root):
    homogeneous("ogbn-arxiv", "time", [[0]] * 6 + [["nan"]], node_year=[[2015]] * N)
    with pytest.raises(ValueError, match=r"y must lie in \[0, 40\) for every node of the split, got -1 at node 6"):
        load_ogbn("ogbn-arxiv")


def test_products(homogeneous):
    homogeneous("ogbn-products", "sales_ranking", [[node] for node in range(N)])
    data = load_ogbn("ogbn-products")
    assert data.num_outputs == 47 and data.edge_index.size(1) == 2 * len(EDGES)
    assert equal(data, load_ogbn("ogbn-products"))


@pytest.mark.parametrize("species", ["node_species", "species"])
def test_proteins(homogeneous, species):
    labels = RNG.integers(0, 2, (N, 112))
    homogeneous("ogbn-proteins", "species", labels, x=None, edge_features=EDGE_FEATURES, **{species: [[9606]] * N})
    data = load_ogbn("ogbn-proteins")
    assert (data.metric, data.num_outputs) == ("rocauc", 112) and data.edge_index.size(1) == 2 * len(EDGES)
    mean = EDGE_FEATURES[[edge for edge, ends in enumerate(EDGES) if 0 in ends]].mean(axis=0)
    assert np.allclose(data.x[0], mean, atol=1e-6) and not data.x[6].any()
    assert torch.equal(data.y, torch.from_numpy(labels).float())
    assert 0 <= data.score(torch.randn(N, 112), torch.arange(5)) <= 1
    assert equal(data, load_ogbn("ogbn-proteins"))


@pytest.fixture
def mag(root, write_csv):
    folder = root.path / "ogbn_mag"
    counts = {"author": 3, "field_of_study": 2, "institution": 2, "paper": N}
    relations = {
        ("author", "affiliated_with", "institution"): [(0, 0), (1, 1)],
        ("author", "writes", "paper"): [(0, 0), (2, 5)],
        ("paper", "cites", "paper"): EDGES,
        ("paper", "has_topic", "field_of_study"): [(0, 1), (6, 0)],
    }
    write_csv(folder / "raw/num-node-dict.csv.gz", [counts.values()], counts)
    write_csv(folder / "raw/triplet-type-list.csv.gz", relations)
    for number, (triplet, edges) in enumerate(relations.items()):
        below = folder / "raw/relations" / "___".join(triplet)
        write_csv(below / "edge.csv.gz", edges)
        write_csv(below / "num-edge-list.csv.gz", [[len(edges)]])
        write_csv(below / "edge_reltype.csv.gz", [[number]] * len(edges))
    write_csv(folder / "raw/node-feat/paper/node-feat.csv.gz", X)
    write_csv(folder / "raw/node-feat/paper/node_year.csv.gz", [[2015]] * N)
    write_csv(folder / "raw/nodetype-has-label.csv.gz", [[kind == "paper" for kind in counts]], counts)
    write_csv(folder / "raw/node-label/paper/node-label.csv.gz", [[node * 50] for node in range(N)])
    write_csv(folder / "split/time/nodetype-has-split.csv.gz", [[kind == "paper" for kind in counts]], counts)
    for part, nodes in {"train": [0, 1, 2], "valid": [3, 4], "test": [5, 6]}.items():
        write_csv(folder / f"split/time/paper/{part}.csv.gz", [[node] for node in nodes])
    (folder / "RELEASE_v2.txt").touch()
    root.seal()


def test_mag_is_its_paper_graph(mag):
    data = load_ogbn("ogbn-mag")
    assert data.num_outputs == 349 and torch.equal(data.x, torch.from_numpy(X))
    assert set(map(tuple, data.edge_index.T.tolist())) == {*EDGES, *((b, a) for a, b in EDGES)}
    assert data.y.tolist() == [0, 50, 100, 150, 200, 250, 300] and data.split["test"].tolist() == [5, 6]
    assert equal(data, load_ogbn("ogbn-mag"))


@pytest.mark.parametrize("name", ["ogbn-arxiv", "ogbn-products", "ogbn-proteins", "ogbn-mag"])
def test_missing_names_the_files(name, root):
    with pytest.raises(MissingData, match=f"{name}: .*{root.path}.*RELEASE_v.*data=digits"):
        load_ogbn(name)


def test_another_release_is_not_taken(homogeneous, root):
    homogeneous("ogbn-arxiv", "time", [[0]] * N, node_year=[[2015]] * N)
    (root.path / "ogbn_arxiv/RELEASE_v1.txt").rename(root.path / "ogbn_arxiv/RELEASE_v0.txt")
    root.seal()
    with pytest.raises(MissingData, match=r"RELEASE_v1\.txt"):
        load_ogbn("ogbn-arxiv")


def test_unknown_name():
    with pytest.raises(ValueError, match="name must be one of ogbn-arxiv, ogbn-products, ogbn-proteins, ogbn-mag"):
        load_ogbn("ogbn-papers100M")
