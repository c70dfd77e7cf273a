import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from multipath_gcn.data import load_images
from multipath_gcn.data.cache import CorruptCache
from multipath_gcn.data.image_decode import Rules, read_decoded, write_decoded
from multipath_gcn.data.image_source import Columns, ParquetFile
from multipath_gcn.data.roots import MissingData

REAL = os.environ.get("MULTIPATH_GCN_DATA")
SPLITS = {"train": "train", "test": "test"}


def load(**changes):
    given = dict(name="tiny", path="owner/tiny", folder="tiny", num_classes=4, size=(6, 5), splits=SPLITS, valid=4)
    return load_images(**{**given, **changes})


@pytest.fixture
def tiny(root, write_images):
    """24 images to train on in two files and 7 to test."""
    first = write_images(root.path / "tiny/train-00000-of-00002.parquet", 20)
    second = write_images(root.path / "tiny/train-00001-of-00002.parquet", 4, seed=1)
    test = write_images(root.path / "tiny/test-00000-of-00001.parquet", 7, seed=2)
    root.seal()
    train = tuple(np.concatenate(both) for both in zip(first, second, strict=True))
    return {"train": train, "test": test}


def content(split):
    return split.batch(torch.arange(len(split))).permute(0, 2, 3, 1).numpy()


def test_reads_parquet_files(tiny):
    data = load()
    assert (data.name, data.num_classes, data.channels, data.size, data.synthetic) == ("tiny", 4, 3, (6, 5), False)
    assert [len(data.splits[part]) for part in ("train", "valid", "test")] == [20, 4, 7]
    for part, split in data.splits.items():
        pixels, labels = tiny["test" if part == "test" else "train"]
        assert np.array_equal(content(split), pixels[split.rows]) and np.array_equal(split.labels, labels[split.rows])


def test_validation_images_come_out_of_train_by_seed(tiny):
    first, again, other = load(), load(), load(split_seed=1)
    train, valid = (first.splits[part].rows for part in ("train", "valid"))
    assert torch.equal(torch.cat([train, valid]).sort().values, torch.arange(24))
    assert torch.equal(valid, again.splits["valid"].rows)
    assert not torch.equal(valid, other.splits["valid"].rows)
    assert len(load(valid=10).splits["valid"]) == 10


def test_a_set_may_have_a_validation_split(tiny, root, write_images):
    images, _ = write_images(root.path / "tiny/val-0.parquet", 3, seed=3)
    root.seal()
    data = load(splits=SPLITS | {"valid": "val"}, valid=None)
    assert [len(data.splits[part]) for part in ("train", "valid", "test")] == [24, 3, 7]
    assert np.array_equal(content(data.splits["valid"]), images)


def test_mean_and_std_are_those_of_the_images_to_train_on(tiny):
    data = load()
    train = content(data.splits["train"]).reshape(-1, 3) / 255
    assert data.mean == pytest.approx(train.mean(axis=0), rel=1e-12)
    assert data.std == pytest.approx(train.std(axis=0), rel=1e-12)
    given = load(mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1])
    assert (given.mean, given.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))


def test_decoded_once(tiny, cache, monkeypatch):
    first = load()
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    monkeypatch.setattr("multipath_gcn.data.image_decode.decode_image", None)
    second = load(valid=5, mean=(0, 0, 0), std=(1, 1, 1))
    assert np.array_equal(first.splits["train"].pixels, second.splits["train"].pixels)
    assert files == {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert {path.parent.parent for path in files} == {cache / "images"} and len(files) == 2 * 5


@pytest.mark.parametrize("changes", [dict(resize=True), dict(convert=True), dict(on_error="skip")])
def test_other_options_have_other_files(tiny, cache, changes):
    load()
    load(**changes)
    assert len(list((cache / "images").iterdir())) == 4


def test_other_raw_files_have_other_files(tiny, root, write_images):
    load()
    images, _ = write_images(root.path / "tiny/test-00000-of-00001.parquet", 7, seed=9)
    root.seal()
    assert np.array_equal(content(load().splits["test"]), images)


def test_a_changed_file_of_the_cache_is_set_aside(tiny, cache):
    load()
    (pixels,) = (cache / "images").glob("tiny-test-*/pixels.npy")
    damaged = bytearray(pixels.read_bytes())
    damaged[-1] ^= 1
    pixels.write_bytes(damaged)
    with pytest.raises(CorruptCache, match=f"corrupted cache file {pixels}"):
        load()
    assert np.array_equal(content(load().splits["test"]), tiny["test"][0])


def test_a_bad_file_is_found_before_anything_is_decoded(tiny, root, cache, write_images, monkeypatch):
    monkeypatch.setattr("multipath_gcn.data.image_decode.decode_image", None)
    path = root.path / "tiny/test-00000-of-00001.parquet"
    write_images(path, 2, labels=[0, 9])
    root.seal()
    with pytest.raises(ValueError, match=f"{path}, column 'label': .* got 9 in row 1"):
        load()
    write_images(path, 0)
    root.seal()
    with pytest.raises(ValueError, match=f"the split test must not be empty, got 0 rows in {path}"):
        load()
    assert not cache.exists()


def test_a_broken_image(tiny, root, cache, write_images, caplog):
    path = root.path / "tiny/test-00000-of-00001.parquet"
    write_images(path, 7, change={2: b"no image"})
    root.seal()
    with pytest.raises(ValueError, match=rf"{path}, column 'img', row 2 \(2.png\): it cannot be decoded"):
        load()
    assert not list((cache / "images").glob("*tiny-test*"))
    assert len(load(on_error="skip").splits["test"]) == 6
    assert "1 unreadable images were left out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(valid=24), "valid must leave some of the 24 images to train on, got 24"),
        (dict(mean=(0.5,)), r"mean must be None or 3 numbers, one per channel, got \(0.5,\)"),
        (dict(std=(0.5, 0.5, 0.0)), "std must be None or 3 positive numbers"),
        (dict(num_classes=0), "num_classes must be at least 1, got 0"),
        (dict(num_classes="4"), "num_classes must be made of whole numbers, got '4'"),
        (dict(size=(6.0, 5)), "size must be made of whole numbers, got 6.0"),
    ],
    ids=str,
)
def test_wrong_options_are_found_before_anything_is_decoded(tiny, cache, changes, message):
    with pytest.raises(ValueError, match=message):
        load(**changes)
    assert not (cache / "images").exists()


@pytest.mark.parametrize("is_set", [True, False])
def test_missing_without_network(root, cache, monkeypatch, is_set):
    def no_hub(*args, **kwargs):
        raise ConnectionError("Couldn't reach it")

    monkeypatch.setattr("datasets.load_dataset", no_hub)
    where = str(root.path)
    if not is_set:
        monkeypatch.delenv("MULTIPATH_GCN_DATA")
        where = "MULTIPATH_GCN_DATA is not set"
    with pytest.raises(MissingData) as caught:
        load()
    for part in (where, str(cache), "owner/tiny on the hub", "Couldn't reach it", "in tiny: train-*.parquet"):
        assert part in str(caught.value)
    assert "data=digit_images" in str(caught.value)
    assert list((cache / "images").iterdir()) == []


def test_from_the_hub_once(root, cache, tiny, monkeypatch):
    import datasets

    source, asked = root.path.rename(root.path.with_name("server")), []
    root.path.mkdir()
    root.seal()

    def fake(path, split, streaming, cache_dir):
        asked.append((path, split))
        files = sorted(map(str, source.glob(f"tiny/{split}-*")))
        return datasets.IterableDataset.from_parquet(files, cache_dir=cache_dir)

    monkeypatch.setattr("datasets.load_dataset", fake)
    for _ in range(2):
        data = load()
        assert np.array_equal(content(data.splits["test"]), tiny["test"][0])
        assert np.array_equal(data.splits["train"].pixels, tiny["train"][0])
    assert asked == [("owner/tiny", "train"), ("owner/tiny", "test")]


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(name="a/b"), "name must be made of letters, digits, _ and -, got 'a/b'"),
        (dict(size=(6,)), r"size must be a height and a width of at least 1, got \(6,\)"),
        (dict(size=(0, 5)), r"size must be .*, got \(0, 5\)"),
        (dict(channels=2), "channels must be one of 1, 3, got 2"),
        (dict(splits={"train": "train"}), "splits must be of train, test and at most valid, got"),
        (dict(splits=SPLITS | {"more": "x"}), "splits must be of train, test and at most valid, got"),
        (dict(splits={"train": "test", "test": "test"}), "splits must be different, got"),
        (dict(splits={"train": "*", "test": "test"}), "splits must be names, got"),
        (dict(splits=SPLITS | {"valid": "val"}), "valid must be None where valid is a split of its own, got 4"),
        (dict(valid=0), "valid must be at least 1 where valid is no split of its own, got 0"),
        (dict(valid=None), "valid must be at least 1 .*, got None"),
        (dict(valid=24), "valid must leave some of the 24 images to train on, got 24"),
        (dict(split_seed=-1), "split_seed must be at least 0, got -1"),
        (dict(on_error="warn"), "on_error must be one of stop, skip, got 'warn'"),
        (dict(num_classes=3), r"column 'label': a label must be a whole number in \[0, 3\), got 3"),
        (dict(label="fine_label"), "the column 'fine_label' must be there, got img, label"),
        (dict(size=(6, 6)), "train-00000-of-00002.parquet, column 'img', row 0 .* wrong image size"),
        (dict(channels=1), "row 0 .* wrong channel count: its mode must be L"),
        (dict(std=(0.0, 1.0, 1.0)), "std must be None or 3 positive numbers"),
    ],
)
def test_refuses(tiny, changes, message):
    with pytest.raises(ValueError, match=message):
        load(**changes)


@pytest.mark.skipif(not (REAL and (Path(REAL) / "cifar10").is_dir()), reason="MULTIPATH_GCN_DATA holds no cifar10")
def test_real_cifar10(tmp_path):
    (path,) = (Path(REAL) / "cifar10").glob("test-*.parquet")  # the train split takes five times as long
    source, columns = ParquetFile(path), Columns("img", "label", 10)
    assert source.check(columns) == 10_000
    begin = time.perf_counter()
    write_decoded(tmp_path / "cifar10", [source], columns, Rules((32, 32), 3, False, False, "stop"))
    assert time.perf_counter() - begin < 60
    decoded = read_decoded(tmp_path / "cifar10")
    assert decoded.pixels.shape == (10_000, 32, 32, 3) and np.bincount(decoded.labels).tolist() == [1000] * 10
    assert 118 < decoded.pixels.mean() < 124
