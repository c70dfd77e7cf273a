import math

import pytest
import torch
from meshes import graph_of, mesh

from multipath_gcn.graph import GaugeGraph

EDGES = torch.tensor([[1, 2, 0], [0, 0, 1]])
ANGLE = torch.tensor([0.0, math.pi / 2, 0.3])


def test_waves_are_means_over_edges_in_order_of_their_targets():
    graph = GaugeGraph(EDGES.flip(1), ANGLE.flip(0), torch.zeros(3), 3)  # given in another order
    dense = dense_of(graph.waves(1))
    wanted = torch.zeros(9, 3)
    wanted[:3, :2] = torch.tensor([[1, 1], [1, 0], [0, 1]]) / 2  # vertex 0: 1, cos, sin of 0 and of a right angle
    wanted[3:6, 2] = torch.tensor([1, math.cos(0.3), math.sin(0.3)])
    torch.testing.assert_close(dense, wanted)


def dense_of(graph):
    dense = torch.zeros(graph.shape, dtype=graph.value.dtype)
    dense[graph.row, graph.col.long()] = graph.value
    return dense


def test_sums_of_vertices_are_those_of_their_edges():
    data = mesh("torus")
    graph = graph_of(data)
    gathered = torch.zeros(graph.source.numel(), 112, dtype=torch.float64)
    gathered[torch.arange(len(gathered)), graph.source] = 1
    dense = dense_of(graph.waves(2)).double() @ gathered
    torch.testing.assert_close(dense_of(graph.waves(2, of_vertices=True)).double(), dense)


def test_what_was_kept_is_never_that_of_other_angles():
    graph = graph_of(mesh("torus"))
    with torch.inference_mode():
        first = graph.operands(1, 1, torch.float64)
    assert not any(part.is_inference() for part in first)
    assert all(a is b for a, b in zip(first, graph.operands(1, 1, torch.float64), strict=True))
    graph.angle += 1.0
    assert not graph.operands(1, 1, torch.float64)[1].equal(first[1])
    with pytest.raises(AttributeError, match="angle of a GaugeGraph cannot be assigned"):
        graph.angle = torch.zeros(672)


def test_matrices_are_made_once():
    graph = graph_of(mesh("torus"))
    assert graph.turned(2) is graph.turned(2) and graph.waves(1) is graph.waves(1)
    assert graph.waves(1) is not graph.waves(1, of_vertices=True) and "num_edges=672" in repr(graph)
    assert graph.to("cpu").angle.equal(graph.angle)


@pytest.mark.parametrize(
    ("edges", "angle", "transport", "message"),
    [
        (EDGES.int(), ANGLE, ANGLE, r"edge_index must be int64 of shape \[2, E\]"),
        (EDGES, ANGLE[:2], ANGLE, r"angle must be floating of shape \[E\] = \[3\], got .* \[2\]"),
        (EDGES, ANGLE, ANGLE.long(), "transport must be floating"),
        (EDGES, ANGLE.clone().requires_grad_(), ANGLE, "angle must not require a gradient"),
        (EDGES, ANGLE * math.inf, ANGLE, "angle must be finite, got nan at edge 0"),
        (EDGES + 1, ANGLE, ANGLE, r"edge_index must lie in \[0, 3\), got 3"),
        (EDGES * 0, ANGLE, ANGLE, "edge_index must join different vertices, got a loop at vertex 0"),
        (EDGES[:, [0, 0, 1]], ANGLE, ANGLE, r"edge_index must hold each edge once, got \(1, 0\) repeatedly"),
    ],
)
def test_what_is_no_surface_is_refused(edges, angle, transport, message):
    with pytest.raises(ValueError, match=message):
        GaugeGraph(edges, angle, transport, 3)
