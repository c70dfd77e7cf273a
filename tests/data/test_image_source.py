import os
import subprocess
import sys

import numpy as np
import pytest

from multipath_gcn.data.image_source import Columns, HubSplit, ParquetFile, find_sources
from multipath_gcn.data.roots import MissingData

SPLITS = {"train": "train", "test": "test"}
COLUMNS = Columns("img", "label", 4)


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_order_is_data_root_then_cache_then_hub(root, cache):
    hub = find_sources("tiny", "owner/tiny", "tiny", SPLITS)
    assert hub == {part: [HubSplit("tiny", "owner/tiny", part, "tiny")] for part in SPLITS}
    touch(cache / "tiny", "train-0.parquet", "test-0.parquet", "training-0.parquet")
    assert find_sources("tiny", "owner/tiny", "tiny", SPLITS)["train"] == [ParquetFile(cache / "tiny/train-0.parquet")]
    touch(root.path / "tiny", "train-b.parquet", "train-a.parquet", "test-0.parquet")
    root.seal()
    files = [source.path.name for source in find_sources("tiny", "owner/tiny", "tiny", SPLITS)["train"]]
    assert files == ["train-a.parquet", "train-b.parquet"]


def test_half_a_set_is_not_mixed_with_the_hub(root):
    touch(root.path / "tiny", "train-0.parquet")
    with pytest.raises(MissingData, match=f"{root.path}/tiny holds other splits of it.* in tiny: test-\\*.parquet"):
        find_sources("tiny", "owner/tiny", "tiny", SPLITS)


@pytest.mark.parametrize(
    "names",
    [["train-00000-of-00002.parquet"], ["train-00001-of-00002.parquet", "train-00002-of-00002.parquet"]],
)
def test_numbered_files_must_all_be_there(root, names):
    touch(root.path / "tiny", "test-0.parquet", *names)
    with pytest.raises(ValueError, match=f"tiny must be numbered 0 to 1, each once, got {', '.join(names)}"):
        find_sources("tiny", "owner/tiny", "tiny", SPLITS)


@pytest.mark.parametrize("count", [1, 7, 10, 100])
def test_rows_come_in_order(tmp_path, write_images, encode, count):
    path = tmp_path / "train-0.parquet"
    pixels, labels = write_images(path, 23)
    source = ParquetFile(path)
    assert source.check(COLUMNS) == 23
    batches = list(source.rows(COLUMNS, count, tmp_path / "scratch"))
    assert [first for first, _, _ in batches] == list(range(0, 23, count))
    images = [image for _, images, _ in batches for image in images]
    assert [image["bytes"] for image in images] == [encode(image) for image in pixels]
    assert [image["path"] for image in images] == [f"{row}.png" for row in range(23)]
    assert np.array_equal([label for _, _, labels in batches for label in labels], labels)


def test_a_file_that_changes_is_another(tmp_path, write_images):
    path = tmp_path / "train-0.parquet"
    write_images(path, 3)
    before = ParquetFile(path).facts()
    assert before == ParquetFile(path).facts()
    os.utime(path, ns=(0, 0))
    assert before != ParquetFile(path).facts()


def retyped(column, kind):
    import pyarrow as pa

    def finish(table):
        values = pa.array([None] * len(table), kind)
        return table.set_column(table.schema.get_field_index(column), column, values)

    return finish


def refused_tables():
    import pyarrow as pa

    return [
        (dict(names=("image", "label")), "the column 'img' must be there, got image, label"),
        (dict(names=("img", "y")), "the column 'label' must be there, got img, y"),
        (dict(finish=retyped("img", pa.string())), "the column 'img' must be a struct with .* bytes, got string"),
        (dict(finish=retyped("img", pa.struct([("path", pa.string())]))), "the column 'img' must be a struct"),
        (dict(finish=retyped("label", pa.float64())), "the column 'label' must hold whole numbers, got double"),
        (dict(finish=retyped("label", pa.int8())), r"column 'label': a label must be .* got None in row 0"),
        (dict(labels=[0, 1, 4]), r"column 'label': a label must be a whole number in \[0, 4\), got 4 in row 2"),
        (dict(labels=[0, -1, 3]), "a label must be .*, got -1 in row 1"),
    ]


@pytest.mark.parametrize("changes, message", refused_tables(), ids=[message[:40] for _, message in refused_tables()])
def test_what_is_wrong_is_known_before_an_image_is_read(tmp_path, write_images, changes, message):
    path = tmp_path / "train-0.parquet"
    write_images(path, 3, **changes)
    with pytest.raises(ValueError, match=f"^{path}.*{message}"):
        ParquetFile(path).check(COLUMNS)


@pytest.mark.parametrize("keep", [0, 3, -3, 0.5])
def test_truncated_file(tmp_path, write_images, keep):
    path = tmp_path / "train-0.parquet"
    write_images(path, 30)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=f"^{path} cannot be read: Arrow"):
        ParquetFile(path).check(COLUMNS)


def test_damage_that_shows_while_reading(tmp_path, write_images):
    path = tmp_path / "train-0.parquet"
    write_images(path, 30, finish=lambda table: table.select(["label", "img"]))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) * 3 // 4] = b"\xff" * (len(content) * 3 // 4 - len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}.* cannot be read: "):
        ParquetFile(path).check(COLUMNS)
        list(ParquetFile(path).rows(COLUMNS, 5, tmp_path / "scratch"))


def test_the_hub_is_checked_as_it_arrives(tmp_path, write_images, monkeypatch):
    import datasets

    path = tmp_path / "train-0.parquet"
    source = HubSplit("tiny", "owner/tiny", "train", "tiny")

    def fake(name, split, streaming, cache_dir):
        assert (name, split, streaming) == ("owner/tiny", "train", True)
        return datasets.IterableDataset.from_parquet(str(path), cache_dir=cache_dir)

    monkeypatch.setattr("datasets.load_dataset", fake)
    _, labels = write_images(path, 23)
    assert source.check(COLUMNS) is None
    found = [label for _, _, labels in source.rows(COLUMNS, 10, tmp_path / "scratch") for label in labels]
    assert np.array_equal(found, labels)
    with pytest.raises(
        ValueError, match="owner/tiny on the hub, split train: the column 'y' must be there, got img, la"
    ):
        list(source.rows(Columns("img", "y", 4), 10, tmp_path / "scratch"))
    write_images(path, 23, labels=[0] * 15 + [7] + [0] * 7)
    with pytest.raises(ValueError, match="on the hub, split train, column 'label': a label .* got 7 in row 15"):
        list(source.rows(COLUMNS, 10, tmp_path / "scratch"))


def test_files_are_read_without_the_network_and_nothing_is_written(tmp_path, write_images):
    write_images(tmp_path / "data/train-0.parquet", 3)
    code = (
        "import socket, sys; from pathlib import Path; from multipath_gcn.data.image_source import Columns, ParquetFile;"
        "assert 'datasets' not in sys.modules and 'torch_geometric' not in sys.modules;"
        "data, scratch = map(Path, sys.argv[1:]);"
        "asked = []; socket.getaddrinfo = lambda *place, **options: asked.append(place);"
        "print(len(list(ParquetFile(data).rows(Columns('img', 'label', 4), 9, scratch))), asked);"
        "next(ParquetFile(data).rows(Columns('img', 'label', 4), 1, scratch))"  # and then the process ends
    )
    scratch, home = tmp_path / "scratch", tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "HF_HOME": str(home / "hf"), "XDG_CACHE_HOME": str(home / "cache")}
    command = [sys.executable, "-c", code, str(tmp_path / "data/train-0.parquet"), str(scratch)]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "1 []\n", done.stderr
    assert not list(home.iterdir()) and not scratch.exists()
