"""Node data sets: every loader is a plain function that returns a checked :class:`NodeDataset`."""

from multipath_gcn.data.digits import load_digits
from multipath_gcn.data.node_dataset import NodeDataset
from multipath_gcn.data.ogbn import load_ogbn
from multipath_gcn.data.planetoid import load_planetoid
from multipath_gcn.data.pyg import load_amazon, load_coauthor, load_cora_full, load_reddit
from multipath_gcn.data.synthetic import load_synthetic

__all__ = [
    "NodeDataset",
    "load_amazon",
    "load_coauthor",
    "load_cora_full",
    "load_digits",
    "load_ogbn",
    "load_planetoid",
    "load_reddit",
    "load_synthetic",
]
