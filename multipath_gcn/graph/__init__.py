"""Sparse adjacency matrices, built once from any form of graph and reused."""

from multipath_gcn.graph.forms import csr_tensor
from multipath_gcn.graph.gauge import GaugeGraph
from multipath_gcn.graph.graph import Graph

__all__ = ["GaugeGraph", "Graph", "csr_tensor"]
