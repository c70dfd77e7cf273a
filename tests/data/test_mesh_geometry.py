import math

import pytest
import torch
from torch_geometric.data import Data

from multipath_gcn.data import MeshGeometry
from multipath_gcn.data.mesh_geometry import turn_frames
from multipath_gcn.data.mesh_shapes import deformed, icosphere, rotation, torus


def measured(pos, face):
    return MeshGeometry()(Data(pos=pos, face=face))


def transport_between(mesh, q, p):
    key = mesh.edge_index[0] * mesh.num_nodes + mesh.edge_index[1]
    order = key.argsort()
    return mesh.transport[order[torch.searchsorted(key[order], q * mesh.num_nodes + p)]]


def wrapped(angle):
    return torch.atan2(angle.sin(), angle.cos())


def some_mesh(seed=0):
    generator = torch.Generator().manual_seed(seed)
    pos, face = icosphere(2)
    return deformed(pos, 0.2, generator), face


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_icosphere_is_a_closed_surface_seen_from_outside(level):
    pos, face = icosphere(level)
    mesh = measured(pos, face)
    edges = mesh.edge_index.size(1) // 2
    assert len(pos) == 10 * 4**level + 2 and len(pos) - edges + face.size(1) == 2  # Euler's number
    torch.testing.assert_close(pos.norm(dim=1), torch.ones(len(pos), dtype=pos.dtype))
    assert ((mesh.frame[:, 2] * pos).sum(1) > 0.99).all()


def test_torus_is_a_closed_surface_seen_from_outside():
    pos, face = torus(20, 12)
    mesh = measured(pos, face)
    assert len(pos) - mesh.edge_index.size(1) // 2 + face.size(1) == 0 and (mesh.edge_index[1].bincount() == 6).all()
    middle = pos * torch.tensor([1.0, 1.0, 0.0])
    middle /= middle.norm(dim=1, keepdim=True)
    assert ((pos - middle) * mesh.frame[:, 2]).sum(1).min() > 0.3


def test_frames_are_right_handed_and_begin_at_a_neighbour():
    mesh = measured(*some_mesh())
    torch.testing.assert_close(mesh.frame @ mesh.frame.mT, torch.eye(3, dtype=torch.float64).expand(162, 3, 3))
    torch.testing.assert_close(torch.linalg.det(mesh.frame), torch.ones(162, dtype=torch.float64))
    first = torch.searchsorted(mesh.edge_index[1], torch.arange(162))
    torch.testing.assert_close(mesh.angle[first], torch.zeros(162, dtype=torch.float64))


def test_neighbours_of_a_flat_mesh_stand_where_they_are_seen():
    points = [(0, 0), *((math.cos(a), math.sin(a)) for a in torch.arange(6).mul(math.pi / 3).tolist())]
    pos = torch.tensor([(*point, 0.0) for point in points], dtype=torch.float64)
    face = torch.tensor([[0, i, i % 6 + 1] for i in range(1, 7)]).t()
    mesh = measured(pos, face)
    around = mesh.edge_index[1] == 0
    torch.testing.assert_close(mesh.angle[around] % (2 * math.pi), torch.arange(6, dtype=torch.float64) * (math.pi / 3))
    # In the plane transport changes nothing but the frame: neighbours see each other in opposite directions.
    back = {(int(q), int(p)): float(angle) for q, p, angle in zip(*mesh.edge_index, mesh.angle, strict=True)}
    for q, p, angle, turn in zip(*mesh.edge_index.tolist(), mesh.angle, mesh.transport, strict=True):
        opposite = torch.tensor(back[p, q] + math.pi, dtype=torch.float64) + turn
        torch.testing.assert_close(wrapped(angle - opposite), torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0)


def test_transport_around_all_triangles_of_a_sphere_turns_by_its_curvature():
    """Gauss and Bonnet: 4 pi in all, and every triangle by its own share."""
    pos, face = icosphere(3)
    mesh = measured(pos, face)
    a, b, c = face
    turn = wrapped(transport_between(mesh, a, b) + transport_between(mesh, b, c) + transport_between(mesh, c, a))
    assert turn.min() > 0
    torch.testing.assert_close(turn.sum(), torch.tensor(4 * math.pi, dtype=torch.float64))


def test_transport_there_and_back_turns_nothing():
    mesh = measured(*some_mesh())
    q, p = mesh.edge_index
    there_and_back = wrapped(mesh.transport + transport_between(mesh, p, q))
    torch.testing.assert_close(there_and_back, torch.zeros_like(there_and_back), atol=1e-12, rtol=0)


def test_moving_and_turning_the_mesh_changes_nothing_but_frames():
    pos, face = some_mesh()
    turn = rotation(torch.Generator().manual_seed(3))
    torch.testing.assert_close(torch.linalg.det(turn), torch.tensor(1.0, dtype=torch.float64))
    one, other = measured(pos, face), measured(pos @ turn.t() + torch.tensor([1.0, -2.0, 0.5]), face)
    assert one.edge_index.equal(other.edge_index)
    for name in ("angle", "transport"):
        torch.testing.assert_close(wrapped(one[name] - other[name]), torch.zeros_like(one[name]), atol=1e-10, rtol=0)
    torch.testing.assert_close(other.frame, one.frame @ turn.t())


def test_turned_frames_are_those_of_the_turned_angles():
    mesh = measured(*some_mesh())
    angle = torch.rand(162, dtype=torch.float64) * 6
    turned = turn_frames(mesh, angle)
    source, target = mesh.edge_index
    difference = mesh.pos[source] - mesh.pos[target]
    first, second, _ = (turned.frame[target] * difference[:, None]).sum(-1).unbind(1)
    torch.testing.assert_close(wrapped(torch.atan2(second, first) - turned.angle), torch.zeros_like(first))
    assert not turned.transport.equal(mesh.transport) and turn_frames(turned, -angle).angle.allclose(mesh.angle)


SQUARE = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
TWO = torch.tensor([[0, 1, 2], [0, 2, 3]]).t()


def test_a_border_is_no_obstacle():
    mesh = measured(SQUARE, TWO)
    assert mesh.edge_index.size(1) == 10 and mesh.angle.dtype == torch.float32


def bow_tie():
    """Two tetrahedra that touch at vertex 0: every edge has two triangles."""
    one = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    other = torch.tensor([[0, 4, 5], [0, 5, 6], [0, 6, 4], [4, 6, 5]])
    corner = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    return torch.cat([torch.zeros(1, 3), corner, -corner[[1, 0, 2]]]), torch.cat([one, other]).t()


@pytest.mark.parametrize(
    ("pos", "face", "message"),
    [
        (SQUARE[:, :2], TWO, r"pos must be floating of shape \[N, 3\]"),
        (SQUARE * torch.tensor([1, math.nan, 1]), TWO, "pos must be finite, got .* at vertex 0"),
        (SQUARE, TWO.int(), "face must be int64"),
        (SQUARE, TWO + 1, r"face must lie in \[0, 4\), the rows of pos, got 4"),
        (SQUARE, torch.tensor([[0, 1, 1]]).t(), r"triangles with an area, got \[0, 1, 1\]"),
        (SQUARE * torch.tensor([1, 0, 0]), TWO, "triangles with an area"),
        (
            SQUARE,
            torch.tensor([[0, 1, 2], [0, 3, 2], [1, 2, 3]]).t(),
            r"manifold, of triangles oriented alike.*\(1, 2\)",
        ),
        (SQUARE, torch.tensor([[0, 1, 2], [0, 2, 3], [2, 0, 1]]).t(), "manifold"),
        (SQUARE, torch.tensor([[0, 1, 2]]).t(), "a triangle at every vertex, got none at vertex 3"),
        (*bow_tie(), "manifold, got 2 sheets that touch at vertex 0"),
        (SQUARE * 1.0, torch.tensor([[0, 1, 2], [2, 1, 0], [0, 2, 3]]).t(), "cancel|manifold"),
    ],
)
def test_what_is_no_surface_is_refused(pos, face, message):
    with pytest.raises(ValueError, match=message):
        measured(pos, face)


def test_normals_that_cancel_are_refused():
    pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    with pytest.raises(ValueError, match="normals cancel at vertex 0"):
        measured(pos, torch.tensor([[0, 1, 2], [0, 2, 1]]).t())
