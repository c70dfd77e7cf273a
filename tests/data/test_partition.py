import numpy as np
import pytest
import torch

from multipath_gcn.data import LargeNodeDataset, NodeDataset, partitioned
from multipath_gcn.data.cache import CorruptCache
from multipath_gcn.graph import Graph

N = 60
SPLIT = {"train": torch.arange(0, N, 3), "valid": torch.arange(1, N, 3), "test": torch.arange(2, N, 3)}


def edges(seed=0, both=True):
    pairs = torch.randint(0, N, (2, 150), generator=torch.Generator().manual_seed(seed))
    pairs = torch.cat([pairs, pairs.flip(0)], dim=1) if both else pairs
    return pairs.unique(dim=1)


def dataset(**changes):
    x = torch.randn(N, 5, generator=torch.Generator().manual_seed(1))
    given = dict(name="toy", x=x, edge_index=edges(), y=torch.arange(N) % 3, split=SPLIT, num_outputs=3, metric="acc")
    return NodeDataset(**given | changes)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("method", ["metis", "contiguous"])
def test_parts_hold_every_node_once(method):
    if method == "metis":
        pytest.importorskip("pymetis")
    graph = partitioned(dataset(), 4, method)
    assert graph.num_parts == 4 and graph.begins[0] == 0 and graph.begins[-1] == N
    assert sorted(graph.order().tolist()) == list(range(N))
    if method == "contiguous":
        assert graph.order().tolist() == list(range(N)) and graph.begins.tolist() == [0, 15, 30, 45, 60]


@pytest.mark.parametrize("both", [True, False], ids=["undirected", "directed"])
@pytest.mark.parametrize("chosen", [[0], [2], [3, 1], [0, 1, 2, 3, 4]])
def test_a_subgraph_is_the_edges_among_its_nodes(chosen, both):
    data = dataset(edge_index=edges(both=both))
    graph = partitioned(data, 5, "contiguous")
    found = graph.read(torch.tensor(chosen))
    nodes = torch.cat([torch.arange(12 * part, 12 * part + 12) for part in sorted(chosen)])
    dense = torch.zeros(N, N)
    dense[data.edge_index[1], data.edge_index[0]] = 1.0
    dense.fill_diagonal_(1.0)
    assert Graph(found.rowptr, found.col).to_dense().equal(dense[nodes][:, nodes])
    assert graph.symmetric == both
    assert found.x.equal(data.x[nodes]) and found.y.equal(data.y[nodes])
    for part, ids in SPLIT.items():
        assert nodes[found.nodes[part]].tolist() == sorted(set(ids.tolist()) & set(nodes.tolist()))
        assert ids[found.positions[part]].equal(nodes[found.nodes[part]])
        assert graph.labels(part).equal(data.y[ids])


def test_metis_cuts_few_edges():
    pytest.importorskip("pymetis")
    ring = torch.stack([torch.arange(N), (torch.arange(N) + 1) % N])
    graph = partitioned(dataset(edge_index=torch.cat([ring, ring.flip(0)], dim=1)), 4)
    kept = sum(graph.read(torch.tensor([part])).col.numel() - 15 for part in range(4))
    assert graph.begins.diff().tolist() == [15] * 4
    assert kept == 2 * (N - 4)  # a ring cut into four arcs


def test_many_buckets_and_chunks_are_the_same_graph(monkeypatch):
    whole = partitioned(dataset(), 3, "contiguous").read(torch.arange(3))
    monkeypatch.setattr("multipath_gcn.data.edge_sort.CHUNK", 7)
    monkeypatch.setattr("multipath_gcn.data.partition._VALUES", 7)
    other = dataset(name="again")
    pieces = partitioned(other, 3, "contiguous").read(torch.arange(3))
    assert pieces.rowptr.equal(whole.rowptr) and pieces.col.equal(whole.col) and pieces.x.equal(whole.x)


def test_half_precision_features_and_one_direction_of_edges():
    data, one_way = dataset(), edges(both=False)
    arrays = data.x.half().numpy(), one_way.numpy(), data.y.numpy().astype(np.int16)
    split = {name: nodes.numpy() for name, nodes in SPLIT.items()}
    large = LargeNodeDataset("large", *arrays, split, 3, "acc", content="0", undirected=True)
    found = partitioned(large, 2, "contiguous").read(torch.arange(2))
    both = torch.cat([one_way, one_way.flip(0)], dim=1)
    dense = torch.eye(N).index_put((both[1], both[0]), torch.tensor(1.0))
    assert Graph(found.rowptr, found.col).to_dense().equal(dense)
    assert found.x.dtype == torch.float32 and found.x.equal(data.x.half().float())
    assert found.y.dtype == torch.int64 and found.y.equal(data.y)


def test_written_once_and_checked(tmp_path):
    folder = partitioned(dataset(), 2, "contiguous").folder
    before = (folder / "col.bin").stat().st_mtime_ns
    assert partitioned(dataset(), 2, "contiguous").folder == folder
    assert (folder / "col.bin").stat().st_mtime_ns == before
    changed = dataset(x=dataset().x + 1)
    assert partitioned(changed, 2, "contiguous").folder != folder
    moved = {"train": SPLIT["train"][:-1], "valid": torch.cat([SPLIT["train"][-1:], SPLIT["valid"]])}
    assert partitioned(dataset(split=SPLIT | moved), 2, "contiguous").folder != folder
    (folder / "col.bin").write_bytes(b"0" * (folder / "col.bin").stat().st_size)
    with pytest.raises(CorruptCache, match=r"col\.bin"):
        partitioned(dataset(), 2, "contiguous")


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"parts": 0}, "parts must lie in 1 ... 60, the number of nodes, got 0"),
        ({}, {"parts": 61}, "parts must lie in 1 ... 60, the number of nodes, got 61"),
        ({}, {"parts": 2, "method": "random"}, r"method must be one of \['metis', 'contiguous'\], got 'random'"),
        ({"edge_weight": torch.ones(edges().size(1))}, {"parts": 2}, "data must have no edge weights"),
        (
            {"edge_index": torch.cat([edges(), torch.tensor([[5, 5], [5, 5]])], dim=1)},
            {"parts": 2, "method": "contiguous"},
            "edge_index must hold each edge once",
        ),
        (
            {"edge_index": edges()[:, [0, *range(edges().size(1))]]},
            {"parts": 2, "method": "contiguous"},
            "edge_index must hold each edge once",
        ),
    ],
)
def test_refused(changes, arguments, message):
    with pytest.raises(ValueError, match=message):
        partitioned(dataset(**changes), **arguments)


@pytest.mark.parametrize("method", ["metis", "contiguous"])
def test_what_stands_in_files_is_checked_when_read(method):
    if method == "metis":
        pytest.importorskip("pymetis")
    data = dataset()
    split = {name: nodes.numpy() for name, nodes in SPLIT.items()}

    def large(x=None, edge_index=None):
        x = data.x.numpy() if x is None else x
        edge_index = data.edge_index.numpy() if edge_index is None else edge_index
        return LargeNodeDataset("large", x, edge_index, data.y.numpy(), split, 3, "acc", content=str(x[7, 0]))

    outside, infinite = data.edge_index.numpy().copy(), data.x.numpy().copy()
    outside[0, 3] = N
    infinite[7, 0] = np.inf
    with pytest.raises(ValueError, match=r"edge_index must lie in \[0, 60\), the rows of x, got 60"):
        partitioned(large(edge_index=outside), 2, method)
    with pytest.raises(ValueError, match="x must be finite, got inf at node 7, feature 0"):
        partitioned(large(x=infinite), 2, method)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros(N, np.float32)}, r"y must be integers of shape \[60\] for the metric acc, got float32 \[60\]"),
        ({"y": np.full(N, 3, np.int64)}, r"y must lie in \[0, 3\) for every node of the split, got 3 at node 0"),
        ({"num_outputs": 0}, "num_outputs must be at least 1, got 0"),
        ({"x": np.zeros((N, 2))}, "x must be float16 or float32 of shape"),
        ({"edge_index": np.zeros((3, 2), np.int64)}, r"edge_index must be integers of shape \[2, E\]"),
        ({"train": np.array([0, -1])}, r"split\['train'\] must lie in \[0, 60\), got -1"),
        ({"train": np.array([0, 1])}, r"split\['valid'\] must not overlap split\['train'\], got node 1 in both"),
    ],
)
def test_no_large_data_set(changes, message):
    data = dataset()
    split = {name: nodes.numpy() for name, nodes in SPLIT.items()}
    split |= {"train": changes.pop("train")} if "train" in changes else {}
    given = dict(x=data.x.numpy(), edge_index=data.edge_index.numpy(), y=data.y.numpy(), num_outputs=3)
    with pytest.raises(ValueError, match=message):
        LargeNodeDataset(name="large", split=split, metric="acc", content="0", **given | changes)
