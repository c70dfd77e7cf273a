"""CIFAR-10, CIFAR-100, Tiny ImageNet, ImageNet and sets like them: encoded images with labels in parquet files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from multipath_gcn.data.cache import cache_root, fingerprint
from multipath_gcn.data.image_dataset import ImageDataset, ImageSplit
from multipath_gcn.data.image_decode import MODES, ON_ERROR, VERSION, Rules, read_decoded, write_decoded
from multipath_gcn.data.image_source import Columns, Source, find_sources
from multipath_gcn.data.moments import mean_and_std
from multipath_gcn.data.node_dataset import PARTS


def load_images(
    name: str,
    path: str,
    folder: str,
    *,
    num_classes: int,
    size: Sequence[int],
    channels: int = 3,
    splits: Mapping[str, str],
    image: str = "img",
    label: str = "label",
    valid: int | None = 5000,
    split_seed: int = 0,
    resize: bool = False,
    convert: bool = False,
    on_error: str = "stop",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    crop_padding: int = 0,
    flip: bool = False,
) -> ImageDataset:
    r"""An image set from ``<folder>/<split>-*.parquet`` of the data root or the cache, else from the hub.

    Images are decoded once, into the cache, and memory-mapped from then on.

    Args:
        name: what reports call it.
        path: its name on the Hugging Face hub.
        folder: where its parquet files are below a root.
        num_classes: labels lie in [0, num_classes).
        size: height and width.
        channels: 1 (grey) or 3 (RGB).
        splits: what the set calls the part ``train``, the part ``test`` and, if it has one of its own, ``valid``.
        image: the column of encoded images.
        label: the column of labels.
        valid: how many images to take at random out of ``train``, if ``valid`` is no split of its own; else None.
        split_seed: of that choice.
        resize: bring images of other sizes to ``size``: the shorter side resized with antialiasing, the centre kept.
        convert: bring images of other colours (grey, palette, transparent, CMYK) to ``channels``.
        on_error: what a broken image does: ``stop`` raises, ``skip`` leaves it out and says so at every load.
        mean: of each channel, over pixels scaled to [0, 1]; by default that of the images to train on, exactly.
        std: likewise.
        crop_padding, flip: augmentation that images of this set bear, see :class:`ImageDataset`.

    Raises:
        ValueError: for an argument out of its range, or raw data that breaks a rule: file, row or column are named.
        MissingData: without raw files and without a network.
        CorruptCache: for a changed file of the cache, which is set aside.
    """
    splits, size = dict(splits), tuple(size)
    _check(name, num_classes, size, channels, splits, valid, split_seed, on_error, mean, std)
    columns = Columns(image, label, num_classes)
    rules = Rules(size, channels, resize, convert, on_error)
    sources = find_sources(name, path, folder, splits)
    folders = {part: _decoded_folder(name, splits[part], sources[part], columns, rules) for part in splits}
    missing = [part for part in splits if not folders[part].exists()]
    for part in missing:  # all that can be known before an image is decoded
        rows = _check_sources(splits[part], sources[part], columns)
        if part == "train" and rows is not None and "valid" not in splits:
            _check_valid(rows, valid)
    for part in missing:
        write_decoded(folders[part], sources[part], columns, rules)
    decoded = {part: read_decoded(folders[part]) for part in splits}
    rows = {part: torch.arange(len(decoded[part].labels)) for part in splits}
    if "valid" not in splits:
        rows["train"], rows["valid"] = _take_out(rows["train"], valid, split_seed)
        decoded["valid"] = decoded["train"]
    found = {
        part: ImageSplit(decoded[part].pixels, torch.from_numpy(decoded[part].labels)[rows[part]], rows[part])
        for part in PARTS
    }
    means, stds = mean_and_std(decoded["train"].moments[rows["train"].numpy()], size[0] * size[1])
    return ImageDataset(
        name,
        found,
        num_classes,
        mean=means if mean is None else tuple(mean),
        std=stds if std is None else tuple(std),
        crop_padding=crop_padding,
        flip=flip,
    )


def _check(
    name: str,
    num_classes: int,
    size: tuple[int, ...],
    channels: int,
    splits: dict[str, str],
    valid: int | None,
    split_seed: int,
    on_error: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> None:
    own = "valid" in splits
    whole = {"num_classes": num_classes, "split_seed": split_seed, "valid": 0 if valid is None else valid}
    for argument, value in (*whole.items(), *(("size", side) for side in size)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{argument} must be made of whole numbers, got {value!r}")
    rules = [
        ("num_classes", num_classes, "at least 1", num_classes >= 1),
        ("name", name, "made of letters, digits, _ and -", re.fullmatch(r"[\w-]+", name)),
        ("size", size, "a height and a width of at least 1", len(size) == 2 and min(size) >= 1),
        ("channels", channels, f"one of {', '.join(map(str, MODES))}", channels in MODES),
        ("splits", splits, "of train, test and at most valid", {"train", "test"} <= set(splits) <= set(PARTS)),
        ("splits", splits, "different", len(set(splits.values())) == len(splits)),
        ("splits", splits, "names", all(re.fullmatch(r"[\w-]+", split) for split in splits.values())),
        ("valid", valid, "None where valid is a split of its own", valid is None or not own),
        ("valid", valid, "at least 1 where valid is no split of its own", own or (valid is not None and valid >= 1)),
        ("split_seed", split_seed, "at least 0", split_seed >= 0),
        ("mean", mean, f"None or {channels} numbers, one per channel", mean is None or len(mean) == channels),
        ("std", std, f"None or {channels} positive numbers", std is None or (len(std) == channels and min(std) > 0)),
        ("on_error", on_error, f"one of {', '.join(ON_ERROR)}", on_error in ON_ERROR),
    ]
    for argument, value, rule, kept in rules:
        if not kept:
            raise ValueError(f"{argument} must be {rule}, got {value!r}")


def _decoded_folder(name: str, split: str, sources: list[Source], columns: Columns, rules: Rules) -> Path:
    facts = [VERSION, [source.facts() for source in sources], columns.image, columns.label, asdict(rules)]
    return cache_root() / "images" / f"{name}-{split}-{fingerprint(facts)}"


def _check_sources(split: str, sources: list[Source], columns: Columns) -> int | None:
    """The number of rows, where that can be known."""
    counts = [source.check(columns) for source in sources]
    if None in counts:
        return None
    if not sum(counts):
        raise ValueError(f"the split {split} must not be empty, got 0 rows in {sources[0].where}")
    return sum(counts)


def _check_valid(rows: int, valid: int) -> None:
    if valid >= rows:
        raise ValueError(f"valid must leave some of the {rows} images to train on, got {valid}")


def _take_out(rows: torch.Tensor, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What stays and what is taken, each in the order of ``rows``."""
    _check_valid(len(rows), count)  # again: broken images may have been left out
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order[count:].sort().values], rows[order[:count].sort().values]
