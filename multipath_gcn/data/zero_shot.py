"""Loaders of zero-shot tasks: digits with seven-segment attributes, and the usual feature files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multipath_gcn.data.cache import UNREADABLE
from multipath_gcn.data.node_dataset import PARTS
from multipath_gcn.data.roots import raw_folder
from multipath_gcn.data.zero_shot_dataset import ZeroShotDataset

SEGMENTS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")  # of 0 to 9
GBU = {"apy": "APY", "awa2": "AWA2", "cub": "CUB", "sun": "SUN"}  # names of folders
_FILES = ("res101.mat", "att_splits.mat")
_PARTS = {"train": "train_loc", "valid": "val_loc", "test": "test_unseen_loc"}


def load_digit_segments(valid_classes: Sequence[int] = (5, 8), test_classes: Sequence[int] = (0, 1)) -> ZeroShotDataset:
    r"""scikit-learn's 1,797 scanned digits, described by the segments a to g that show a digit on a display.

    64 features, the grey values of 8 x 8 pixels in [0, 1]; 7 attributes, 0 or 1. All digits that are neither validated
    nor tested are trained on.

    Args:
        valid_classes: digits to validate with, two at least.
        test_classes: digits to test with, two at least.

    Raises:
        ValueError: for anything but different digits, or where a segment does not vary among the training digits.
    """
    import sklearn.datasets

    unseen = [*valid_classes, *test_classes]
    for name, digits in (("valid_classes", valid_classes), ("test_classes", test_classes)):
        for digit in digits:
            if isinstance(digit, bool) or not isinstance(digit, int) or not 0 <= digit <= 9:
                raise ValueError(f"{name} must be digits from 0 to 9, got {digit!r}")
    if twice := [digit for digit in unseen if unseen.count(digit) > 1]:
        raise ValueError(f"valid_classes and test_classes must hold each digit once, got {twice[0]} more than once")
    attributes = torch.tensor([[float(segment in shown) for segment in "abcdefg"] for shown in SEGMENTS])
    seen = [digit for digit in range(10) if digit not in unseen]
    columns = zip("abcdefg", attributes[seen].T, strict=True)
    constant = [segment for segment, column in columns if len(column.unique()) < 2]
    if len(seen) < 2 or constant:
        rule = "leave training digits among which every segment is on and off"
        raise ValueError(f"valid_classes and test_classes must {rule}, got {seen} with {constant} constant")
    pixels, y = sklearn.datasets.load_digits(return_X_y=True)
    labels = torch.from_numpy(y.astype(np.int64))
    digits = {"train": seen, "valid": valid_classes, "test": test_classes}
    split = {part: torch.isin(labels, torch.tensor([*digits[part]])).nonzero().flatten() for part in PARTS}
    x = torch.from_numpy((pixels / 16).astype(np.float32))
    return ZeroShotDataset("digit_segments", x, labels, attributes, split, tuple("0123456789"), tuple("abcdefg"))


def load_gbu(name: str) -> ZeroShotDataset:
    """Precomputed ResNet-101 features of images and attributes of their classes, by `Xian et al.
    <https://arxiv.org/abs/1707.00600>`_, in the proposed split.

    ``xlsa17/data/<NAME>/res101.mat`` and ``att_splits.mat`` of the authors' archive are looked for in the data root,
    then in the cache; they are not downloaded. Parts are ``train_loc``, ``val_loc`` and ``test_unseen_loc``: classes
    to validate are unseen in training, as those to test are. Networks are never trained on ``trainval_loc``, as most
    published numbers are; nor is there a generalised score, for which ``test_seen_loc`` would have to be taken out
    of ``train_loc`` first.

    Args:
        name: ``apy`` (32 classes, 64 attributes), ``awa2`` (50, 85), ``cub`` (200, 312) or ``sun`` (717, 102).

    Raises:
        MissingData: without the files.
        ValueError: for an unknown ``name``, or files that cannot be read or do not go together.
    """
    if name not in GBU:
        raise ValueError(f"name must be one of {', '.join(GBU)}, got {name!r}")
    folder = raw_folder(name, [f"xlsa17/data/{GBU[name]}"], _FILES, _refuse)
    features = _read(folder / _FILES[0], ("features", "labels"))
    classes = _read(folder / _FILES[1], ("att", *_PARTS.values()), ("allclasses_names",))
    x = torch.from_numpy(np.ascontiguousarray(features["features"].T, dtype=np.float32))
    attributes = torch.from_numpy(np.ascontiguousarray(classes["att"].T, dtype=np.float32))
    split = {part: _from_one(classes[key]) for part, key in _PARTS.items()}
    names = tuple(_text(entry) for entry in classes.get("allclasses_names", np.empty(0)).ravel())
    return ZeroShotDataset(name, x, _from_one(features["labels"]), attributes, split, names)


def _refuse(_: Path) -> None:
    where = "http://datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip"
    raise OSError(f"the archive is not downloaded unasked; unpack {where} there")


def _read(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    import scipy.io
    from scipy.io.matlab import MatReadError

    try:
        found = scipy.io.loadmat(path, variable_names=[*needed, *optional])
    except (*UNREADABLE, TypeError, NotImplementedError, MatReadError) as error:
        raise ValueError(f"{path} must be a readable MATLAB file, got {type(error).__name__}: {error}") from error
    absent = [name for name in needed if name not in found]
    if absent:
        raise ValueError(f"{path} must hold {', '.join(needed)}, got none named {', '.join(absent)}")
    return found


def _from_one(numbers: np.ndarray) -> Tensor:
    """MATLAB counts from 1, and keeps columns as tables."""
    return torch.from_numpy(numbers.ravel().astype(np.int64) - 1)


def _text(entry: object) -> str:
    """What a cell holds, however deep: a name."""
    while isinstance(entry, np.ndarray):
        entry = entry.item()
    return str(entry)
