"""Triangle meshes with a label for every vertex, checked before the first step."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from multipath_gcn.data.node_dataset import PARTS

_FIELDS = ("x", "y", "pos", "face", "edge_index", "angle", "transport")


@dataclass(frozen=True, eq=False)
class MeshDataset:
    r"""Classification of the vertices of meshes.

    Args:
        name: what reports call it.
        splits: ``train``, ``valid`` and ``test``, each a list of meshes: PyG ``Data`` with what
            :class:`~multipath_gcn.data.MeshGeometry` makes, ``x`` float32 [N, F], values that do not turn with a frame,
            and ``y`` int64 [N].
        num_classes: every label is in [0, num_classes).
        metric: ``acc``, the share of vertices whose largest output is their class.
        synthetic: whether the meshes are generated; reports label it so.

    Raises:
        ValueError: naming argument, rule and value, where one of these rules is broken.
    """

    name: str
    splits: dict[str, list[Data]]
    num_classes: int
    metric: str = "acc"
    synthetic: bool = False

    def __post_init__(self) -> None:
        if self.metric != "acc":
            raise ValueError(f"metric must be acc, got {self.metric!r}")
        if set(self.splits) != set(PARTS):
            raise ValueError(f"splits must have exactly the keys {', '.join(PARTS)}, got {sorted(self.splits)}")
        for part in PARTS:
            if not self.splits[part]:
                raise ValueError(f"splits[{part!r}] must hold at least one mesh, got none")
            for number, mesh in enumerate(self.splits[part]):
                self._check(f"splits[{part!r}][{number}]", mesh)

    @property
    def num_features(self) -> int:
        return self.splits["train"][0].x.size(-1)

    def _check(self, name: str, mesh: Data) -> None:
        missing = [field for field in _FIELDS if field not in mesh]
        if missing:
            rule = f"have {', '.join(_FIELDS)} (see MeshGeometry)"
            raise ValueError(f"{name} must {rule}, got none of {', '.join(missing)}")
        vertices = mesh.pos.size(0)
        edges = mesh.edge_index.size(-1)
        for field, shape in (("edge_index", (2, edges)), ("angle", (edges,)), ("transport", (edges,))):
            if mesh[field].shape != shape or not mesh[field].isfinite().all():
                raise ValueError(
                    f"{field} of {name} must be finite of shape {list(shape)}, got {_describe(mesh[field])}"
                )
        if mesh.x.dim() != 2 or mesh.x.dtype != torch.float32 or mesh.x.shape != (vertices, self.num_features):
            wanted = f"float32 of shape {[vertices, self.num_features]}"
            raise ValueError(f"x of {name} must be {wanted}, got {_describe(mesh.x)}")
        if not mesh.x.isfinite().all():
            raise ValueError(
                f"x of {name} must be finite, got another value at vertex {_first(~mesh.x.isfinite().all(1))}"
            )
        if mesh.y.dtype != torch.int64 or mesh.y.shape != (vertices,):
            raise ValueError(f"y of {name} must be int64 of shape [{vertices}], got {_describe(mesh.y)}")
        wrong = (mesh.y < 0) | (mesh.y >= self.num_classes)
        if wrong.any():
            vertex = _first(wrong)
            raise ValueError(
                f"y of {name} must lie in [0, {self.num_classes}), got {int(mesh.y[vertex])} at vertex {vertex}"
            )


def _first(wrong: Tensor) -> int:
    return int(wrong.nonzero()[0])


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
