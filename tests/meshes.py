"""Small meshes for tests, in float64."""

import torch
from torch_geometric.data import Data

from multipath_gcn.data import MeshGeometry
from multipath_gcn.data.mesh_shapes import deformed, icosphere, torus
from multipath_gcn.graph import GaugeGraph


def mesh(kind: str = "sphere", seed: int = 0, dtype: torch.dtype = torch.float64) -> Data:
    """162 vertices on a deformed sphere, or 112 on a torus."""
    pos, face = icosphere(2) if kind == "sphere" else torus(14, 8)
    pos = deformed(pos, 0.15, torch.Generator().manual_seed(seed))
    return MeshGeometry()(Data(pos=pos.to(dtype), face=face))


def graph_of(data: Data) -> GaugeGraph:
    return GaugeGraph(data.edge_index, data.angle, data.transport, data.num_nodes)


def representation(order: int, angle: torch.Tensor) -> torch.Tensor:
    """rho(angle), [*, 2 order + 1, 2 order + 1]."""
    rho = torch.zeros(*angle.shape, 2 * order + 1, 2 * order + 1, dtype=angle.dtype)
    rho[..., 0, 0] = 1
    for m in range(1, order + 1):
        cos, sin, re, im = (m * angle).cos(), (m * angle).sin(), 2 * m - 1, 2 * m
        rho[..., re, re], rho[..., re, im], rho[..., im, re], rho[..., im, im] = cos, -sin, sin, cos
    return rho


def turned(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Features [N, 2 order + 1, C] in frames turned by the angle [N]."""
    return representation((x.size(1) - 1) // 2, -angle) @ x
