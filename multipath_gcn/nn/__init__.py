"""Layers and networks for PyTorch and PyG code."""

from multipath_gcn.nn.gcn_conv import GCNConv
from multipath_gcn.nn.multipath_gcn import MultiPathGCN

__all__ = ["GCNConv", "MultiPathGCN"]
