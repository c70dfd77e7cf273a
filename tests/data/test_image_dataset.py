from dataclasses import replace

import numpy as np
import pytest
import torch

from multipath_gcn.data import ImageDataset, ImageSplit

PIXELS = np.arange(8 * 2 * 3 * 1, dtype=np.uint8).reshape(8, 2, 3, 1)


def split(rows, labels=None, pixels=PIXELS):
    return ImageSplit(pixels, torch.tensor(labels or [row % 2 for row in rows]), torch.tensor(rows))


def make(**changes):
    splits = {"train": split([0, 2, 5]), "valid": split([1]), "test": split([0, 3], pixels=PIXELS.copy())}
    splits |= changes.pop("splits", {})
    return ImageDataset("tiny", **{"splits": splits, "num_classes": 2, "mean": (0.5,), "std": (0.25,), **changes})


def test_says_what_it_holds():
    data = make()
    assert (data.channels, data.size, data.metric, data.synthetic) == (1, (2, 3), "acc", False)
    assert len(data.splits["train"]) == 3


@pytest.mark.parametrize("mapped", [True, False])
def test_batch_is_a_copy_in_channels_last_memory(tmp_path, mapped):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    given = np.load(tmp_path / "pixels.npy", mmap_mode="r") if mapped else pixels
    batch = split([1, 4, 6], pixels=given).batch(torch.tensor([2, 0, 2]))
    assert batch.shape == (3, 3, 4, 5) and batch.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch.permute(0, 2, 3, 1).numpy(), pixels[[6, 1, 6]])
    batch.zero_()
    assert given[6].any()
    assert split([1, 4], pixels=given).batch(torch.empty(0, dtype=torch.long)).shape == (0, 3, 4, 5)


@pytest.mark.parametrize("position", [-1, 3])
def test_batch_refuses_a_position_out_of_range(position):
    with pytest.raises((IndexError, RuntimeError), match="index out of range"):
        split([1, 4, 6]).batch(torch.tensor([0, position]))


REFUSED = [
    (lambda: split([0], pixels=PIXELS.astype(float)), "pixels must be uint8 .* got float64"),
    (lambda: split([0], pixels=PIXELS[0]), r"pixels must be uint8 of shape \[N, H, W, C\].* got uint8 \(2, 3, 1\)"),
    (lambda: split([0], pixels=PIXELS.transpose(0, 2, 1, 3)), "pixels must be .* in C order"),
    (lambda: split([0], pixels=PIXELS[:0]), "pixels must be .* not empty"),
    (lambda: split([0.0], [0]), "rows must be int64 .* got torch.float32"),
    (lambda: split([0], [0.0]), "labels must be int64 .* got torch.float32"),
    (lambda: ImageSplit(PIXELS, torch.tensor([]).long(), torch.tensor([]).long()), "labels must be .* M >= 1"),
    (lambda: split([0, 1], [0]), "labels must be as many as rows, 2, got 1"),
    (lambda: split([1, 0]), "rows must be ascending, each once"),
    (lambda: split([1, 1]), "rows must be ascending, each once"),
    (lambda: split([0, 8]), r"rows must lie in \[0, 8\), got 8"),
    (lambda: split([-1, 7]), r"rows must lie in \[0, 8\), got -1"),
    (lambda: make(metric="rocauc"), "metric must be acc, got 'rocauc'"),
    (lambda: make(num_classes=0), "num_classes must be at least 1, got 0"),
    (lambda: make(num_classes=1), r"labels of splits\['train'\] must lie in \[0, 1\), got 1 at position 2"),
    (lambda: make(splits={"test": split([3], [-1])}), r"splits\['test'\] must lie in \[0, 2\), got -1 at position 0"),
    (lambda: make(splits={"more": split([3])}), "splits must have exactly the keys train, valid, test"),
    (lambda: make(splits={"valid": split([2, 3])}), r"splits\['valid'\] must not overlap splits\['train'\], got row 2"),
    (lambda: make(splits={"test": split([1, 3])}), r"splits\['test'\] must not overlap splits\['valid'\], got row 1"),
    (
        lambda: make(splits={"test": split([0], pixels=PIXELS[:, :1].copy())}),
        r"splits\['test'\] must hold images of shape",
    ),
    (lambda: make(mean=(0.5, 0.5)), r"mean must be 1 finite numbers, one per channel, got \(0.5, 0.5\)"),
    (lambda: make(std=(float("nan"),)), "std must be 1 finite numbers"),
    (lambda: make(std=(0.0,)), r"std must be positive, got \(0.0,\)"),
]


@pytest.mark.parametrize("build, message", REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_refuses(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_is_frozen_and_compares_by_identity():
    data = make()
    with pytest.raises(AttributeError):
        data.name = "other"
    assert data == data and data != replace(data)
