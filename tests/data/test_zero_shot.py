from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import sklearn.datasets
import torch

from multipath_gcn.data.roots import MissingData
from multipath_gcn.data.zero_shot import GBU, SEGMENTS, load_digit_segments, load_gbu
from multipath_gcn.data.zero_shot_dataset import ZeroShotDataset


def fields(**changed):
    """Six classes of two examples each, two classes in each part, three attributes."""
    y = torch.arange(6).repeat_interleave(2)
    attributes = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])
    split = dict(zip(("train", "valid", "test"), torch.arange(12).split(4), strict=True))
    given = {"name": "tiny", "x": torch.randn(12, 4), "y": y, "attributes": attributes, "split": split}
    return given | changed


def test_the_classes_of_a_part():
    data = ZeroShotDataset(**fields())
    assert [data.classes(part).tolist() for part in ("train", "valid", "test")] == [[0, 1], [2, 3], [4, 5]]
    assert data.metric == "class_acc" and not data.synthetic


def test_a_row_in_no_part_is_not_looked_at():
    given = fields()
    given["split"]["test"] = given["split"]["test"][1:]
    assert ZeroShotDataset(**given).classes("test").tolist() == [4, 5]


def changed_split(**parts):
    return {"split": fields()["split"] | {name: torch.tensor(rows) for name, rows in parts.items()}}


def attributes(row=None, to=None, **options):
    table = fields()["attributes"]
    if row is not None:
        table[row] = torch.tensor(to)
    return {"attributes": table.to(**options)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributes": torch.rand(5, 3)}, "attributes must have one row for each class of y, 6, got 5 rows"),
        ({"attributes": torch.rand(7, 3)}, "attributes must have one row for each class of y, 6, got 7 rows"),
        (
            {"y": torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 5, 5, 5, 5])},
            "attributes must have one row for each class of y, 0 to 5, got a row of class 4, which has no example",
        ),
        ({"class_names": tuple("abcde")}, "class_names must be 6, one per class of attributes, got 5"),
        ({"attribute_names": tuple("ab")}, "attribute_names must be 3, one per attribute of attributes, got 2"),
        (
            attributes(dtype=torch.float64),
            r"attributes must be float32 of shape \[K, A\] and not empty, got torch.float64 \(6, 3\)",
        ),
        (attributes(2, [0.0, float("nan"), 1.0]), "attributes must be finite, got nan in row 2, column 1"),
        (attributes(3, [0.0, 0.0, 0.0]), "attributes must have no row of length 0, got 0 for class 3"),
        (attributes(3, [1e-25, 0.0, 0.0]), "attributes must have no row of length 0, got 0 for class 3"),
        (
            attributes(5, [0.0, 2.0, 2.0]),
            r"attributes must differ in direction between the classes of split\['test'\], .* got parallel rows for the classes 4 and 5",
        ),
        ({"x": torch.rand(12)}, r"x must be float32 of shape \[N, F\] and not empty, got torch.float32 \(12,\)"),
        ({"x": torch.full((12, 4), float("inf"))}, "x must be finite, got inf in row 0, column 0"),
        ({"y": torch.zeros(12)}, r"y must be int64 of shape \[N\] = \(12,\), as x, got torch.float32 \(12,\)"),
        (
            {"y": torch.zeros(11, dtype=torch.int64)},
            r"y must be int64 of shape \[N\] = \(12,\), as x, got torch.int64 \(11,\)",
        ),
        ({"y": fields()["y"] - 1}, "y must be at least 0, got -1 in row 0"),
        (
            {"split": {"train": torch.arange(4)}},
            r"split must have exactly the keys train, valid, test, got \['train'\]",
        ),
        (changed_split(valid=[4, 5, 6, 12]), r"split\['valid'\] must lie in \[0, 12\), the rows of x, got 12"),
        (changed_split(valid=[4, 6, 6]), r"split\['valid'\] must hold each row once, got row 6 repeatedly"),
        (
            changed_split(valid=[4.0]),
            r"split\['valid'\] must be int64 of shape \[n\] with n >= 1, got torch.float32 \(1,\)",
        ),
        (changed_split(valid=[4, 5]), r"split\['valid'\] must be of at least 2 classes, got 1"),
        (
            changed_split(test=[3, 8, 10]),
            r"split\['test'\] must have no class of split\['train'\], since its classes are unseen there, got class 1 in both",
        ),
        ({"metric": "acc"}, "metric must be class_acc, got 'acc'"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        ZeroShotDataset(**fields(**change))


def test_training_classes_may_have_equal_attributes():
    ZeroShotDataset(**fields(**attributes(1, [3.0, 0.0, 0.0])))


def test_digits_are_scikit_learns_with_a_display():
    data = load_digit_segments()
    pixels, y = sklearn.datasets.load_digits(return_X_y=True)
    assert np.array_equal(data.x.numpy() * 16, pixels) and np.array_equal(data.y.numpy(), y)
    assert [data.classes(part).tolist() for part in ("train", "valid", "test")] == [[2, 3, 4, 6, 7, 9], [5, 8], [0, 1]]
    assert sum(map(len, data.split.values())) == len(y)
    on = data.attributes.bool()
    assert on.sum(dim=1).tolist() == [6, 2, 5, 5, 4, 5, 6, 3, 7, 6]  # segments of 0 to 9
    assert ["".join(n for n, s in zip(data.attribute_names, row, strict=True) if s) for row in on] == list(SEGMENTS)
    seen = data.attributes[data.classes("train")]
    assert (seen.std(dim=0) > 0).all()
    assert data.attributes.unique(dim=0).shape == (10, 7)


@pytest.mark.parametrize(
    ("valid", "test", "message"),
    [
        ([5, 5], [0, 4, 7], "valid_classes and test_classes must hold each digit once, got 5 more than once"),
        ([5, 8], [8, 4, 7], "valid_classes and test_classes must hold each digit once, got 8 more than once"),
        ([5, 10], [0, 4], "valid_classes must be digits from 0 to 9, got 10"),
        ([5, 8], [0, "4"], "test_classes must be digits from 0 to 9, got '4'"),
        (
            [2, 8],
            [0, 4],
            r"must leave training digits among which every segment is on and off, got \[1, 3, 5, 6, 7, 9\] with \['c'\] constant",
        ),
        ([5], [0, 4, 7], r"split\['valid'\] must be of at least 2 classes, got 1"),
        (range(5), range(5, 10), "must leave training digits among which every segment is on and off, got"),
    ],
    ids=str,
)
def test_digits_refuse(valid, test, message):
    with pytest.raises(ValueError, match=message):
        load_digit_segments(valid, test)


@pytest.fixture
def mats(root):
    """The files of a tiny set of six classes, as MATLAB has them: columns are examples, numbers count from 1."""

    def write(name="AWA2", features=None, splits=None, drop=()):
        folder = root.path / "xlsa17/data" / name
        folder.mkdir(parents=True, exist_ok=True)
        given = fields()
        res = {"features": given["x"].double().numpy().T, "labels": given["y"].double().numpy()[:, None] + 1}
        names = np.array([[f"class {c}"] for c in range(6)], dtype=object)
        loc = {"train_loc": "train", "val_loc": "valid", "test_unseen_loc": "test"}
        att = {key: given["split"][part].numpy()[:, None] + 1.0 for key, part in loc.items()}
        att |= {"att": given["attributes"].double().numpy().T, "allclasses_names": names}
        att |= {"trainval_loc": np.arange(1.0, 9)[:, None], **(splits or {})}
        for key in drop:
            del att[key]
        scipy.io.savemat(folder / "res101.mat", res | (features or {}))
        scipy.io.savemat(folder / "att_splits.mat", att)
        root.seal()
        return given

    return write


@pytest.mark.parametrize("name", GBU)
def test_feature_files_are_read(mats, name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    mats(GBU[name])
    torch.set_rng_state(state)
    given, data = fields(), load_gbu(name)
    assert data.name == name and data.x.is_contiguous()
    assert torch.equal(data.x, given["x"]) and torch.equal(data.y, given["y"])
    assert torch.equal(data.attributes, given["attributes"])
    assert all(torch.equal(data.split[part], given["split"][part]) for part in given["split"])
    assert data.class_names == tuple(f"class {c}" for c in range(6))


def test_names_of_classes_may_be_absent(mats):
    mats(drop=["allclasses_names"])
    assert load_gbu("awa2").class_names == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": {"att": np.random.rand(3, 5)}}, "attributes must have one row for each class of y, 6, got 5 rows"),
        (
            {"splits": {"allclasses_names": np.array([["a"], ["b"]], dtype=object)}},
            "class_names must be 6, one per class of attributes, got 2",
        ),
        ({"features": {"labels": np.ones((11, 1))}}, r"y must be int64 of shape \[N\] = \(12,\), as x"),
        (
            {"splits": {"val_loc": np.array([[5.0], [13.0]])}},
            r"split\['valid'\] must lie in \[0, 12\), the rows of x, got 12",
        ),
        ({"drop": ["att", "val_loc"]}, "att_splits.mat must hold att, train_loc, .* got none named att, val_loc"),
    ],
    ids=str,
)
def test_files_that_do_not_go_together_are_refused(mats, change, message):
    mats(**change)
    with pytest.raises(ValueError, match=message):
        load_gbu("awa2")


def test_a_file_that_is_none_is_refused(mats, root):
    mats()
    (root.path / "xlsa17/data/AWA2/res101.mat").write_bytes(b"no MATLAB file")
    root.seal()
    with pytest.raises(ValueError, match="res101.mat must be a readable MATLAB file, got"):
        load_gbu("awa2")


def test_files_that_are_nowhere(cache):
    with pytest.raises(
        MissingData, match=r"unpack http.*xlsa17.zip there.*in xlsa17/data/CUB: res101.mat, att_splits.mat"
    ):
        load_gbu("cub")
    with pytest.raises(ValueError, match="name must be one of apy, awa2, cub, sun, got 'imagenet'"):
        load_gbu("imagenet")


def test_what_is_checked_cannot_be_changed():
    data = ZeroShotDataset(**fields())
    with pytest.raises(AttributeError):
        data.y = data.y[:1]
    with pytest.raises(ValueError, match="attributes must have one row"):
        replace(data, attributes=data.attributes[:3])
