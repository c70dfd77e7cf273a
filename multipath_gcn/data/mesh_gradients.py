"""A task that asks for orientation: deformed spheres and tori with two fields; needs no download."""

import math

import torch
from torch import Generator, Tensor
from torch_geometric.data import Data

from multipath_gcn.data.mesh_dataset import MeshDataset
from multipath_gcn.data.mesh_geometry import MeshGeometry
from multipath_gcn.data.mesh_shapes import deformed, icosphere, rotation, torus

_WAVES = 4


def load_mesh_gradients(
    train: int = 24,
    valid: int = 8,
    test: int = 16,
    sectors: int = 6,
    level: int = 3,
    strength: float = 0.15,
    noise: float = 0.02,
    data_seed: int = 0,
) -> MeshDataset:
    r"""Spheres and tori by turns, each deformed and turned at random, with two smooth random fields f, h at the
    vertices.

    The label says in which sector the gradient of h lies, seen from that of f, both in the tangent plane, turned
    counterclockwise about the outward normal:

    .. math::
        y = \left\lfloor S \, \frac{\angle(\nabla f, \nabla h)}{2 \pi} + \frac12 \right\rfloor \bmod S

    Seen in a mirror the sectors s and S - s change places while all distances stay: a network that sees its neighbours
    without their direction can tell at best which of the two pairs it is.

    Args:
        train, valid, test: numbers of meshes.
        sectors: S, number of classes, at least 3.
        level: size of the meshes: 10 * 4 ** level + 2 vertices, tori about as many.
        strength: of the deformation, against a radius of 1.
        noise: standard deviation of what is added to the fields, which have about 1.
        data_seed: of everything drawn.

    Raises:
        ValueError: for an argument out of its range.
    """
    for name, count in (("train", train), ("valid", valid), ("test", test)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    if sectors < 3:
        raise ValueError(f"sectors must be at least 3, got {sectors}")
    if not 1 <= level <= 6:
        raise ValueError(f"level must be in [1, 6], got {level}")
    if not 0 <= strength <= 0.3:
        raise ValueError(f"strength must be in [0, 0.3], got {strength}")
    if noise < 0:
        raise ValueError(f"noise must be at least 0, got {noise}")
    generator = Generator().manual_seed(data_seed)
    shapes = [icosphere(level), _torus_of(10 * 4**level)]
    counts = {"train": train, "valid": valid, "test": test}
    splits = {
        part: [_mesh(*shapes[number % 2], sectors, strength, noise, generator) for number in range(count)]
        for part, count in counts.items()
    }
    return MeshDataset("mesh_gradients", splits, sectors, synthetic=True)


def _torus_of(vertices: int) -> tuple[Tensor, Tensor]:
    sides = max(3, round(math.sqrt(vertices * 0.4)))
    return torus(round(vertices / sides), sides)


def _mesh(pos: Tensor, face: Tensor, sectors: int, strength: float, noise: float, generator: Generator) -> Data:
    pos = deformed(pos, strength, generator) @ rotation(generator).t()
    mesh = MeshGeometry()(Data(pos=pos, face=face))
    fields, slopes = zip(*(_field(pos, generator) for _ in range(2)), strict=True)
    first, second = (torch.einsum("nkd,nd->nk", mesh.frame[:, :2], slope) for slope in slopes)
    across = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    turn = torch.atan2(across, (first * second).sum(1)) / (2 * math.pi)
    mesh.y = (sectors * turn + 0.5).floor().long() % sectors
    x = torch.stack(fields, dim=1)
    x = x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    kept = ("pos", "angle", "transport", "frame")
    for name in kept:
        mesh[name] = mesh[name].float()
    mesh.x = x.float()
    return mesh


def _field(pos: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Values [N] and gradients [N, 3] of a sum of waves in space."""
    direction = 2 * torch.randn(_WAVES, 3, generator=generator, dtype=pos.dtype)
    phase = torch.rand(_WAVES, generator=generator, dtype=pos.dtype) * (2 * math.pi)
    size = math.sqrt(2 / _WAVES)
    angle = pos @ direction.t() + phase
    return size * angle.sin().sum(1), size * angle.cos() @ direction
