"""Examples of classes that are described by attributes, split by classes, checked before the first step."""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.data.node_dataset import PARTS


@dataclass(frozen=True, eq=False)
class ZeroShotDataset:
    r"""A zero-shot classification task: the classes of the parts are different ones, attributes link them.

    Args:
        name: what reports call it.
        x: float32 [N, F], finite: features, a row per example.
        y: int64 [N]: classes, from 0 to K - 1, each with an example.
        attributes: float32 [K, A], finite: a row per class, none of zeros. Two classes of ``valid``, or of ``test``,
            must differ in more than the length of their rows: else nothing could tell them apart.
        split: ``train``, ``valid`` and ``test`` as int64 rows of ``x``, none twice, of at least two classes each; no
            class is in two parts. Rows in no part are not looked at.
        class_names: K names, or none.
        attribute_names: A names, or none.
        metric: ``class_acc``, accuracy within every class, averaged over classes (T1 of `Xian et al.
            <https://arxiv.org/abs/1707.00600>`_); of an unseen part among the classes of this part.
        synthetic: whether the examples are generated; reports label it so.

    Raises:
        ValueError: naming argument, rule and value, where one of these rules is broken.
    """

    name: str
    x: Tensor
    y: Tensor
    attributes: Tensor
    split: dict[str, Tensor]
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    metric: str = "class_acc"
    synthetic: bool = False

    def __post_init__(self) -> None:
        if self.metric != "class_acc":
            raise ValueError(f"metric must be class_acc, got {self.metric!r}")
        _check_table("x", self.x, "[N, F]")
        _check_table("attributes", self.attributes, "[K, A]")
        if self.y.dtype != torch.int64 or self.y.shape != self.x.shape[:1]:
            got = f"{self.y.dtype} {tuple(self.y.shape)}"
            raise ValueError(f"y must be int64 of shape [N] = ({len(self.x)},), as x, got {got}")
        _check_classes(self.y, len(self.attributes))
        for name, count in (("class_names", len(self.attributes)), ("attribute_names", self.attributes.shape[1])):
            names = getattr(self, name)
            if names and len(names) != count:
                raise ValueError(f"{name} must be {count}, one per {name[:-6]} of attributes, got {len(names)}")
        if set(self.split) != set(PARTS):
            raise ValueError(f"split must have exactly the keys {', '.join(PARTS)}, got {sorted(self.split)}")
        for part in PARTS:
            _check_part(part, self.split[part], len(self.x))
        classes = {part: self.classes(part).tolist() for part in PARTS}
        for part in PARTS:
            if len(classes[part]) < 2:
                raise ValueError(f"split[{part!r}] must be of at least 2 classes, got {len(classes[part])}")
        for one, other in combinations(PARTS, 2):
            if shared := sorted(set(classes[one]) & set(classes[other])):
                rule = f"have no class of split[{one!r}], since its classes are unseen there"
                raise ValueError(f"split[{other!r}] must {rule}, got class {shared[0]} in both")
        _check_directions(self.attributes, classes)

    def classes(self, part: str) -> Tensor:
        """The classes of a part, ascending."""
        return self.y[self.split[part]].unique()


def _check_table(name: str, table: Tensor, shape: str) -> None:
    if table.dtype != torch.float32 or table.dim() != 2 or table.numel() == 0:
        got = f"{table.dtype} {tuple(table.shape)}"
        raise ValueError(f"{name} must be float32 of shape {shape} and not empty, got {got}")
    if not table.isfinite().all():
        row, column = (~table.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name} must be finite, got {table[row, column].item()} in row {row}, column {column}")


def _check_classes(y: Tensor, rows: int) -> None:
    if int(y.min()) < 0:
        raise ValueError(f"y must be at least 0, got {int(y.min())} in row {int(y.argmin())}")
    count = int(y.max()) + 1
    if count != rows:
        raise ValueError(f"attributes must have one row for each class of y, {count}, got {rows} rows")
    absent = (torch.bincount(y) == 0).nonzero()
    if len(absent):
        rule = f"have one row for each class of y, 0 to {count - 1}"
        raise ValueError(f"attributes must {rule}, got a row of class {int(absent[0])}, which has no example")


def _check_part(part: str, rows: Tensor, count: int) -> None:
    if rows.dtype != torch.int64 or rows.dim() != 1 or rows.numel() == 0:
        got = f"{rows.dtype} {tuple(rows.shape)}"
        raise ValueError(f"split[{part!r}] must be int64 of shape [n] with n >= 1, got {got}")
    low, high = map(int, rows.aminmax())
    if low < 0 or high >= count:
        raise ValueError(f"split[{part!r}] must lie in [0, {count}), the rows of x, got {low if low < 0 else high}")
    times = torch.bincount(rows)
    if int(times.max()) > 1:
        raise ValueError(f"split[{part!r}] must hold each row once, got row {int(times.argmax())} repeatedly")


def _check_directions(attributes: Tensor, classes: dict[str, list[int]]) -> None:
    lengths = attributes.norm(dim=1)  # in the precision in which they will be divided by it
    if not (lengths > 1e-12).all():
        least = int(lengths.argmin())
        raise ValueError(f"attributes must have no row of length 0, got {lengths[least].item():.3g} for class {least}")
    unit = F.normalize(attributes.double(), dim=1)
    for part in PARTS[1:]:
        for a, b in combinations(classes[part], 2):
            if (unit[a] - unit[b]).abs().max() < 1e-9:
                rule = f"differ in direction between the classes of split[{part!r}], which nothing else tells apart"
                raise ValueError(f"attributes must {rule}, got parallel rows for the classes {a} and {b}")
