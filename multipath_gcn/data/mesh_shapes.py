"""Triangle meshes by formula: spheres and tori, and smooth deformations of them."""

import math

import torch
from torch import Generator, Tensor

_GOLDEN = (1 + math.sqrt(5)) / 2
_ICOSAHEDRON = [
    (0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6), (7, 1,
    8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1),
]  # fmt: skip


def icosphere(level: int) -> tuple[Tensor, Tensor]:
    """Unit sphere: an icosahedron each of whose triangles is cut into four, ``level`` times.

    Args:
        level: 0 or more; there are 10 * 4 ** level + 2 vertices and 20 * 4 ** level triangles.

    Returns:
        ``pos``, float64 [N, 3], and ``face``, int64 [3, F], normals outwards.

    Raises:
        ValueError: for a negative level.
    """
    if level < 0:
        raise ValueError(f"level must be at least 0, got {level}")
    g = _GOLDEN
    corners = [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0)]
    turned = [corners, [(z, x, y) for x, y, z in corners], [(y, z, x) for x, y, z in corners]]
    pos = torch.tensor([point for part in turned for point in part], dtype=torch.float64)
    pos, face = pos / pos.norm(dim=1, keepdim=True), torch.tensor(_ICOSAHEDRON).t()
    for _ in range(level):
        pos, face = _refined(pos, face)
    return pos, face.contiguous()


def _refined(pos: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
    tail, head = face.flatten(), face.roll(-1, 0).flatten()
    key = torch.minimum(tail, head) * len(pos) + torch.maximum(tail, head)
    edges, which = key.unique(return_inverse=True)
    middle = pos[edges // len(pos)] + pos[edges % len(pos)]
    a, b, c = face
    ab, bc, ca = (which + len(pos)).view(3, -1)
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    face = torch.cat([torch.stack(part) for part in parts], dim=1)
    return torch.cat([pos, middle / middle.norm(dim=1, keepdim=True)]), face


def torus(rings: int, sides: int, radius: float = 0.4) -> tuple[Tensor, Tensor]:
    """Torus about the z axis, its middle circle of radius 1.

    Args:
        rings: vertices along the middle circle, at least 3.
        sides: vertices around it, at least 3; every vertex has six neighbours.
        radius: of the tube, in (0, 1).

    Returns:
        ``pos``, float64 [rings * sides, 3], and ``face``, int64 [3, 2 * rings * sides], normals outwards.

    Raises:
        ValueError: for an argument outside the above.
    """
    for name, count in (("rings", rings), ("sides", sides)):
        if count < 3:
            raise ValueError(f"{name} must be at least 3, got {count}")
    if not 0 < radius < 1:
        raise ValueError(f"radius must lie in (0, 1), got {radius}")
    ring, side = torch.meshgrid(torch.arange(rings), torch.arange(sides), indexing="ij")
    along, around = ring.double() * (2 * math.pi / rings), side.double() * (2 * math.pi / sides)
    out = 1 + radius * around.cos()
    pos = torch.stack([out * along.cos(), out * along.sin(), radius * around.sin()], dim=-1).view(-1, 3)

    def vertex(ring: Tensor, side: Tensor) -> Tensor:
        return ((ring % rings) * sides + side % sides).flatten()

    a, b = vertex(ring, side), vertex(ring + 1, side)
    c, d = vertex(ring + 1, side + 1), vertex(ring, side + 1)
    return pos, torch.cat([torch.stack([a, b, c]), torch.stack([a, c, d])], dim=1)


def deformed(pos: Tensor, strength: float, generator: Generator) -> Tensor:
    """The points moved by a smooth random field: waves of lengths of about 2 in random directions.

    Args:
        pos: float64 [N, 3].
        strength: how far a point moves, about.
        generator: of the field.
    """
    waves = 6
    direction = torch.randn(waves, 3, generator=generator, dtype=pos.dtype)
    phase = torch.rand(waves, generator=generator, dtype=pos.dtype) * (2 * math.pi)
    shift = torch.randn(waves, 3, generator=generator, dtype=pos.dtype) * (strength / math.sqrt(waves))
    return pos + (pos @ direction.t() * 1.5 + phase).sin() @ shift


def rotation(generator: Generator) -> Tensor:
    """A random rotation of space, float64 [3, 3]."""
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * torch.linalg.det(q)
