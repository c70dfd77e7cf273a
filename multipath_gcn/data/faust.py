"""FAUST's registered scans as a task of vertex correspondence, from the archive that users download themselves."""

import io
import zipfile
from pathlib import Path

import torch
from torch_geometric.data import Data

from multipath_gcn.data.mesh_dataset import MeshDataset
from multipath_gcn.data.mesh_geometry import MeshGeometry
from multipath_gcn.data.roots import raw_folder

_ARCHIVE = "MPI-FAUST.zip"
_MEMBER = "MPI-FAUST/training/registrations/tr_reg_{:03d}.ply"
_SPLIT = {"train": range(70), "valid": range(70, 80), "test": range(80, 100)}  # subjects 0-6, 7, 8 and 9


def load_faust(vertices: int = 6890) -> MeshDataset:
    """100 scans of ten people in ten poses, all with the same vertices: which one is this?

    Features are the coordinates, as in the network for it of `"Gauge Equivariant Mesh CNNs"
    <https://arxiv.org/abs/2003.05425>`_, the class of a vertex is its number. PyG's layout: ``FAUST/raw/MPI-FAUST.zip``
    below the data root or the cache, from http://faust.is.tue.mpg.de, where one has to register. 80 scans are to train
    on, of which the last person's ten validate, 20 to test, as is usual.

    Args:
        vertices: how many each scan must have.

    Raises:
        MissingData: without the archive.
        ImportError: without trimesh (extra ``mesh``).
        ValueError: for an archive that lacks a scan, or scans of other vertices or different triangles.
    """
    try:
        import trimesh
    except ImportError as error:
        raise ImportError("data=faust needs trimesh to read its files: pip install 'multipath_gcn[mesh]'") from error
    archive = raw_folder("faust", ["FAUST/raw", "faust/raw"], [_ARCHIVE], _refuse) / _ARCHIVE
    transform, meshes, face = MeshGeometry(), [], None
    with zipfile.ZipFile(archive) as content:
        for number in range(100):
            try:
                file = io.BytesIO(content.read(_MEMBER.format(number)))
            except KeyError:
                raise ValueError(f"{_ARCHIVE} must hold {_MEMBER.format(number)}, got an archive without it") from None
            scan = trimesh.load(file, file_type="ply", process=False)
            mesh = Data(pos=torch.tensor(scan.vertices).float(), face=torch.tensor(scan.faces).long().t().contiguous())
            face = mesh.face if face is None else face
            if mesh.pos.size(0) != vertices or not mesh.face.equal(face):
                rule = f"have {vertices:,} vertices and the triangles of scan 0"
                raise ValueError(
                    f"scan {number} must {rule}, got {mesh.pos.size(0):,} vertices, {mesh.face.size(1)} triangles"
                )
            mesh = transform(mesh)
            mesh.x, mesh.y = mesh.pos.clone(), torch.arange(vertices)
            meshes.append(mesh)
    return MeshDataset("faust", {part: [meshes[i] for i in chosen] for part, chosen in _SPLIT.items()}, vertices)


def _refuse(_: Path) -> None:
    raise OSError("it must be downloaded by hand, after registration, from http://faust.is.tue.mpg.de")
