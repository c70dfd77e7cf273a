"""ogbn-arxiv, -products, -proteins and -mag as one graph each, with OGB's own splits."""

from collections.abc import Callable, Mapping

from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter, to_undirected

from multipath_gcn.data import download
from multipath_gcn.data.node_dataset import PARTS, NodeDataset
from multipath_gcn.data.ogb import ogb_facts, read_ogb
from multipath_gcn.data.roots import raw_folder


def load_ogbn(name: str) -> NodeDataset:
    r"""One of the OGB node property data sets (Hu et al., arXiv 2005.00687), read by the official loader.

    - ``ogbn-arxiv``: 40 classes; citations made undirected.
    - ``ogbn-products``: 47 classes; both directions of each edge, as the loader gives them.
    - ``ogbn-proteins``: 112 binary tasks; a node's features are the mean of the 8 features of its edges.
    - ``ogbn-mag``: 349 classes; the papers and the citations among them, made undirected.

    Raw files are looked for in ``ogbn_<name>`` of the data root, then of the cache, and else downloaded.

    Raises:
        ValueError: for another name, or for raw files that cannot be read.
        MissingData: without raw files and without a network.
        CorruptCache: for a changed file of the cache, which is set aside.
    """
    if name not in _PREPARE:
        raise ValueError(f"name must be one of {', '.join(_PREPARE)}, got {name!r}")
    facts = ogb_facts(name)
    folder, files = name.replace("-", "_"), _needed(facts)
    raw = raw_folder(
        name,
        [folder, f"{folder}_pyg", f"ogb/{folder}"],
        files,
        lambda target: download.fetch_zip(facts["url"], target, top=facts["download_name"]),
    )
    # The tables are plain text; whatever else lies there, split_dict.pt or processed/, is a pickle of unknown origin.
    tables = (str(path.relative_to(raw)) for path in (raw / "raw").rglob("*.csv.gz"))
    data, split = read_ogb(name, raw, sorted({*files, *tables}), _PREPARE[name])
    metric = facts["eval metric"]
    outputs = int(facts["num tasks" if metric == "rocauc" else "num classes"])
    return NodeDataset(name, data.x, data.edge_index, data.y, split, outputs, metric)


def undirected(data: Data) -> Data:
    """Features, classes, and every edge in both directions, once."""
    return _with_classes(data.x, to_undirected(data.edge_index, num_nodes=data.num_nodes), data.y)


def _as_given(data: Data) -> Data:
    return _with_classes(data.x, data.edge_index, data.y)


def _mean_edge_features(data: Data) -> Data:
    x = scatter(data.edge_attr, data.edge_index[1], dim=0, dim_size=data.num_nodes, reduce="mean")
    return Data(x=x.float(), edge_index=data.edge_index, y=data.y.float())


def _papers(data: Data) -> Data:
    x, citations = data.x_dict["paper"], data.edge_index_dict["paper", "cites", "paper"]
    return _with_classes(x, to_undirected(citations, num_nodes=x.size(0)), data.y_dict["paper"])


def _with_classes(x: Tensor, edge_index: Tensor, y: Tensor) -> Data:
    # OGB writes NaN where a node has no label.
    return Data(x=x.float(), edge_index=edge_index, y=y.squeeze(1).nan_to_num(-1).long())


_PREPARE: dict[str, Callable[[Data], Data]] = {
    "ogbn-arxiv": undirected,
    "ogbn-products": _as_given,
    "ogbn-proteins": _mean_edge_features,
    "ogbn-mag": _papers,
}


def _needed(facts: Mapping[str, str]) -> list[str]:
    """The raw files without which the official loader would download, ask or fail."""
    if facts["is hetero"] == "True":
        raw = [
            "num-node-dict",
            "triplet-type-list",
            "nodetype-has-label",
            "node-label/paper/node-label",
            "node-feat/paper/node-feat",
            "relations/paper___cites___paper/edge",
        ]
        split = ["nodetype-has-split", *(f"paper/{part}" for part in PARTS)]
    else:
        raw = ["edge", "num-node-list", "num-edge-list", "node-label"]
        raw += ["node-feat"] * (facts["has_node_attr"] == "True") + ["edge-feat"] * (facts["has_edge_attr"] == "True")
        split = list(PARTS)
    return [
        f"RELEASE_v{facts['version']}.txt",
        *(f"raw/{file}.csv.gz" for file in raw),
        *(f"split/{facts['split']}/{file}.csv.gz" for file in split),
    ]
