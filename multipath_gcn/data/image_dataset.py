"""Images, their labels and their split: all that training and scoring need to know, checked before the first step."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from multipath_gcn.data.node_dataset import PARTS


@dataclass(frozen=True, eq=False)
class ImageSplit:
    r"""Those rows of an array of images that belong to one part of a data set.

    Args:
        pixels: uint8 [N, H, W, C] in C order, in memory or memory-mapped; two splits may share it.
        labels: int64 [M], one per image of the split.
        rows: int64 [M], ascending: where in ``pixels`` these images are.

    Raises:
        ValueError: naming argument, rule and value, where one of these rules is broken.
    """

    pixels: np.ndarray
    labels: Tensor
    rows: Tensor

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or not pixels.flags.c_contiguous or pixels.size == 0:
            got = f"{pixels.dtype} {pixels.shape}"
            raise ValueError(f"pixels must be uint8 of shape [N, H, W, C] in C order and not empty, got {got}")
        for name in ("labels", "rows"):
            tensor = getattr(self, name)
            if tensor.dtype != torch.int64 or tensor.dim() != 1 or tensor.numel() == 0:
                got = f"{tensor.dtype} {tuple(tensor.shape)}"
                raise ValueError(f"{name} must be int64 of shape [M] with M >= 1, got {got}")
        if len(self.labels) != len(self.rows):
            raise ValueError(f"labels must be as many as rows, {len(self.rows)}, got {len(self.labels)}")
        if not (self.rows.diff() > 0).all():
            raise ValueError("rows must be ascending, each once")
        if self.rows[0] < 0 or self.rows[-1] >= len(pixels):
            low, high = int(self.rows[0]), int(self.rows[-1])
            raise ValueError(f"rows must lie in [0, {len(pixels)}), got {low if low < 0 else high}")

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Tensor) -> Tensor:
        """Copies of the images at int64 ``positions`` in [0, M), as uint8 [B, C, H, W] in channels-last memory."""
        rows = self.rows.index_select(0, positions)  # it refuses a position out of range, negative ones too
        # As a plain array: indexing a np.memmap would wrap what it returns.
        return torch.from_numpy(np.asarray(self.pixels)[rows.numpy()]).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class ImageDataset:
    r"""An image classification task.

    Args:
        name: what reports call it.
        splits: ``train``, ``valid`` and ``test``, all of images of one shape; no image of one array in two of them.
        num_classes: every label is in [0, num_classes).
        mean: of each channel, over pixels scaled to [0, 1].
        std: of each channel, positive.
        crop_padding: by how many pixels an image may be moved in any direction and still be what it is.
        flip: whether an image mirrored left to right is still what it is.
        metric: ``acc``, the share of images whose largest output is their class.
        synthetic: whether the images are generated; reports label it so.

    Raises:
        ValueError: naming argument, rule and value, where one of these rules is broken.
    """

    name: str
    splits: dict[str, ImageSplit]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int = 0
    flip: bool = False
    metric: str = "acc"
    synthetic: bool = False

    def __post_init__(self) -> None:
        if self.metric != "acc":
            raise ValueError(f"metric must be acc, got {self.metric!r}")
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding must be at least 0, got {self.crop_padding}")
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {self.num_classes}")
        if set(self.splits) != set(PARTS):
            raise ValueError(f"splits must have exactly the keys {', '.join(PARTS)}, got {sorted(self.splits)}")
        for part in PARTS:
            _check_split(part, self.splits[part], self.splits["train"].pixels.shape[1:], self.num_classes)
        for one, other in combinations(PARTS, 2):
            _check_disjoint(one, self.splits[one], other, self.splits[other])
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise ValueError(f"{name} must be {self.channels} finite numbers, one per channel, got {values}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")

    @property
    def channels(self) -> int:
        return self.splits["train"].pixels.shape[3]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.splits["train"].pixels.shape[1:3]


def _check_split(part: str, split: ImageSplit, shape: tuple[int, ...], num_classes: int) -> None:
    if split.pixels.shape[1:] != shape:
        raise ValueError(f"splits[{part!r}] must hold images of shape {shape}, as train, got {split.pixels.shape[1:]}")
    wrong = (split.labels < 0) | (split.labels >= num_classes)
    if wrong.any():
        at = int(wrong.nonzero()[0])
        got = f"{int(split.labels[at])} at position {at}"
        raise ValueError(f"labels of splits[{part!r}] must lie in [0, {num_classes}), got {got}")


def _check_disjoint(one: str, first: ImageSplit, other: str, second: ImageSplit) -> None:
    if first.pixels is not second.pixels:
        return
    shared = first.rows[torch.isin(first.rows, second.rows, assume_unique=True)]
    if len(shared):
        raise ValueError(f"splits[{other!r}] must not overlap splits[{one!r}], got row {int(shared[0])} in both")
