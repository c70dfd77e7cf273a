"""What a gauge-equivariant network knows of a mesh: angles of neighbours, and how frames turn between them."""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

_FLAT = 1e-6  # of a triangle: twice its area over the square of its longest side; of vectors: part that is left


class MeshGeometry(BaseTransform):
    r"""Logarithmic map and parallel transport along the edges of an oriented triangle mesh, as in
    `"Gauge Equivariant Mesh CNNs" <https://arxiv.org/abs/2003.05425>`_.

    The normal :math:`n_p` of a vertex is the mean of those of its triangles, weighted by area. Its frame
    :math:`(e_1, e_2, n_p)` is right-handed; :math:`e_1` points to the neighbour of the lowest number, which has no
    meaning, but turns with the mesh. With v the difference from p to its neighbour q and t the part of v in the tangent
    plane of p, and R the smallest rotation that takes :math:`n_q` to :math:`n_p`,

    .. math::
        \theta_{pq} = \mathrm{atan2}(t \cdot e_2^p, t \cdot e_1^p), \qquad
        g_{pq} = \mathrm{atan2}(R e_1^q \cdot e_2^p, R e_1^q \cdot e_1^p)

    Adds to the data ``edge_index`` [2, E], both directions of every edge, sorted by target; ``angle`` [E],
    :math:`\theta`, and ``transport`` [E], g, in radians; and ``frame`` [N, 3, 3], the rows :math:`e_1, e_2, n`.
    Computed in float64, kept in the type of ``pos``. All but ``frame`` stay as they are when the mesh is moved and
    turned.

    Raises:
        ValueError: for a mesh with a triangle that is flat, an edge of more than two triangles or of two that are not
            oriented alike, a vertex where several sheets touch or that has no triangle, or normals that cancel.
    """

    def forward(self, data: Data) -> Data:
        _check_arrays(data.pos, data.face)
        pos, face = data.pos.double().cpu(), data.face.cpu()
        corner = _corner_normals(pos, face)
        source, target = _edges(face, pos.size(0))
        normal = _vertex_normals(corner, face, pos.size(0))
        first = _tangents(pos, normal, source, target)
        frame = torch.stack([first, torch.linalg.cross(normal, first), normal], dim=1)
        data.edge_index = torch.stack([source, target]).to(data.pos.device)
        data.angle = _angles(pos, frame, source, target).to(data.pos)
        data.transport = _transport(frame, source, target).to(data.pos)
        data.frame = frame.to(data.pos)
        return data


def turn_frames(data: Data, angle: Tensor) -> Data:
    r"""The same mesh, with the frame of each vertex turned by its angle [N], in radians: a change of gauge.

    A feature of order m of a vertex is then multiplied by :math:`e^{-im \alpha}`.
    """
    source, target = data.edge_index
    turned = data.clone()
    turned.angle = data.angle - angle[target]
    turned.transport = data.transport + angle[source] - angle[target]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    first, second, normal = data.frame.unbind(1)
    turned.frame = torch.stack([cos * first + sin * second, cos * second - sin * first, normal], dim=1)
    return turned


def _check_arrays(pos: Tensor, face: Tensor) -> None:
    if pos is None or pos.dim() != 2 or pos.size(1) != 3 or not pos.is_floating_point() or not pos.numel():
        got = None if pos is None else f"{pos.dtype} {list(pos.shape)}"
        raise ValueError(f"pos must be floating of shape [N, 3], got {got}")
    if not pos.isfinite().all():
        vertex = int((~pos.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"pos must be finite, got {pos[vertex].tolist()} at vertex {vertex}")
    if face is None or face.dtype != torch.int64 or face.dim() != 2 or face.size(0) != 3 or not face.numel():
        got = None if face is None else f"{face.dtype} {list(face.shape)}"
        raise ValueError(f"face must be int64 of shape [3, F] with F >= 1, got {got}")
    low, high = map(int, face.aminmax())
    if low < 0 or high >= pos.size(0):
        raise ValueError(f"face must lie in [0, {pos.size(0)}), the rows of pos, got {low if low < 0 else high}")


def _corner_normals(pos: Tensor, face: Tensor) -> Tensor:
    """[F, 3], normals of the triangles, twice as long as their areas."""
    a, b, c = pos[face]
    normal = torch.linalg.cross(b - a, c - a)
    longest = torch.stack([(b - a), (c - b), (a - c)]).square().sum(-1).amax(0)
    flat = ~(normal.norm(dim=1) > _FLAT * longest)
    if flat.any():
        at = int(flat.nonzero()[0])
        raise ValueError(
            f"face must hold triangles with an area, got {face[:, at].tolist()}, whose corners lie on a line"
        )
    return normal


def _edges(face: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Source and target of every edge in both directions, sorted by target; refuses what is no manifold."""
    tail, head = _sides(face)
    key = tail * num_nodes + head
    found, count = key.unique(return_counts=True)
    if int(count.max()) > 1:
        at = int(found[count.argmax()])
        pair = at // num_nodes, at % num_nodes
        rule = "be a manifold, of triangles oriented alike: an edge runs once in each direction"
        raise ValueError(f"face must {rule}, got {int(count.max())} triangles along {pair}")
    _check_sheets(face, tail, head, num_nodes)
    both = torch.cat([found, head * num_nodes + tail]).unique()  # sorted by the vertex that counts as target
    return both % num_nodes, both // num_nodes


def _sides(face: Tensor) -> tuple[Tensor, Tensor]:
    """The three directed edges of every triangle, [3 F] each: side s of triangle f at s F + f."""
    return face.flatten(), face.roll(-1, 0).flatten()


def _check_sheets(face: Tensor, tail: Tensor, head: Tensor, num_nodes: int) -> None:
    """Around a vertex, triangles that share an edge of it must hang together. Corner c of triangle f is c F + f."""
    sides, count = tail.numel(), face.size(1)
    key, other = tail * num_nodes + head, head * num_nodes + tail
    order = key.argsort()
    place = torch.searchsorted(key[order], other).clamp(max=sides - 1)
    twin = order[place]
    has = key[twin] == other
    mine, theirs = torch.arange(sides)[has], twin[has]
    after, theirs_after = (mine + count) % sides, (theirs + count) % sides  # the next corner of the same triangle
    one, two = torch.cat([mine, after]).numpy(), torch.cat([theirs_after, theirs]).numpy()
    joined = coo_array((np.ones(len(one), dtype=np.int8), (one, two)), shape=(sides, sides))
    _, sheet = connected_components(joined, directed=False)
    pairs = np.unique(np.stack([face.flatten().numpy(), sheet]), axis=1)
    sheets = np.bincount(pairs[0], minlength=num_nodes)
    if sheets.max() > 1:
        vertex = int(sheets.argmax())
        raise ValueError(f"face must be a manifold, got {sheets[vertex]} sheets that touch at vertex {vertex} alone")
    if sheets.min() == 0:
        raise ValueError(
            f"face must have a triangle at every vertex, got none at vertex {int(sheets.argmin())}: no normal"
        )


def _vertex_normals(corner: Tensor, face: Tensor, num_nodes: int) -> Tensor:
    total = torch.zeros(num_nodes, 3, dtype=corner.dtype).index_add_(0, face.flatten(), corner.repeat(3, 1))
    size = torch.zeros(num_nodes, dtype=corner.dtype).index_add_(0, face.flatten(), corner.norm(dim=1).repeat(3))
    length = total.norm(dim=1)
    without = ~(length > _FLAT * size)
    if without.any():
        vertex = int(without.nonzero()[0])
        raise ValueError(f"pos must give every vertex a normal, got triangles whose normals cancel at vertex {vertex}")
    return total / length[:, None]


def _tangents(pos: Tensor, normal: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """A unit vector at right angles to each normal, towards the first neighbour."""
    difference = pos[source] - pos[target]
    upright = (difference * normal[target]).sum(1)
    tangent = difference - upright[:, None] * normal[target]
    length = tangent.norm(dim=1)
    without = ~(length > _FLAT * upright.abs())
    if without.any():
        pair = int(source[without][0]), int(target[without][0])
        raise ValueError(f"pos must not have an edge along a normal, got edge {pair}, which has no angle")
    first = torch.searchsorted(target, torch.arange(len(normal)))
    return tangent[first] / length[first, None]


def _angles(pos: Tensor, frame: Tensor, source: Tensor, target: Tensor) -> Tensor:
    difference = pos[source] - pos[target]
    first, second, _ = (frame[target] * difference[:, None]).sum(-1).unbind(1)
    return torch.atan2(second, first)


def _transport(frame: Tensor, source: Tensor, target: Tensor) -> Tensor:
    r"""Of the rotation about :math:`n_q \times n_p`:
    :math:`R v = v - \frac{(n_p \cdot v)(n_p + n_q)}{1 + n_p \cdot n_q}` for v at right angles to :math:`n_q`."""
    first, normal, here = frame[source, 0], frame[source, 2], frame[target]
    cos = (here[:, 2] * normal).sum(1)
    opposite = ~(1 + cos > _FLAT)
    if opposite.any():
        pair = int(source[opposite][0]), int(target[opposite][0])
        raise ValueError(f"pos must not fold back on itself, got opposite normals along edge {pair}")
    along = (here[:, 2] * first).sum(1) / (1 + cos)
    turned = first - along[:, None] * (here[:, 2] + normal)
    return torch.atan2((turned * here[:, 1]).sum(1), (turned * here[:, 0]).sum(1))
