import json
import pickle

import numpy as np
import pytest
import sklearn.datasets
import torch

from multipath_gcn.data.roots import MissingData
from multipath_gcn.data.sequence_dataset import SequenceDataset
from multipath_gcn.data.sequences import drawn, load_digit_sequences, load_jsb_chorales

SIZES = {"train": 4, "valid": 2, "test": 3}
CHORALES = {
    "train": [[[60, 64, 67, 72], [], [21, 108]], [(48,), (50,)]],
    "valid": [[[60], [61], [62], [63]]],
    "test": [[[60], [61]], [[70], [71], [72]], [[80], [80]]],
}


def splits(frames=5, shape=(1, 2, 3)):
    generator = torch.Generator().manual_seed(0)
    return {part: torch.rand(count, frames, *shape, generator=generator) for part, count in SIZES.items()}


@pytest.fixture
def roots(monkeypatch, tmp_path):
    for name in ("data", "cache"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"MULTIPATH_GCN_{name.upper()}", str(tmp_path / name))
    return tmp_path


# What a data set must be


def test_what_is_right_is_taken():
    dataset = SequenceDataset("tiny", splits())
    assert dataset.shape == (1, 2, 3) and dataset.least_length == 5
    assert dataset.lengths_of("test").tolist() == [5, 5, 5]
    assert (dataset.metric, dataset.synthetic) == ("likelihood", False)


def test_lengths():
    frames = splits()
    lengths = {part: torch.full((count,), 5) for part, count in SIZES.items()}
    lengths["valid"] = torch.tensor([5, 3])
    frames["valid"][1, 3:] = 0
    dataset = SequenceDataset("tiny", frames, lengths)
    assert dataset.least_length == 3 and dataset.lengths_of("valid").tolist() == [5, 3]


def changed(name, part, value, at=None):
    def change(arguments):
        if at is None:
            arguments[name] = {**arguments[name], part: value}
        else:
            arguments[name][part][at] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(metric="acc"), "metric must be likelihood, got 'acc'"),
        (lambda a: a["splits"].pop("valid"), r"splits must have exactly the keys train, valid, test, got \['test', 'train'\]"),
        (lambda a: a.update(lengths={"train": torch.tensor([5])}), r"lengths must have exactly the keys .*, got \['train'\]"),
        (changed("splits", "test", torch.zeros(3, 5, 2, 3)), r"splits\['test'\] must be float32 of shape \[N, T, C, H, W\], not empty, with T >= 2, got torch.float32 \[3, 5, 2, 3\]"),
        (changed("splits", "test", torch.zeros(3, 5, 1, 2, 3).double()), r"splits\['test'\] must be float32 .* got torch.float64"),
        (changed("splits", "test", torch.zeros(3, 1, 1, 2, 3)), r"splits\['test'\] must be .* T >= 2, got torch.float32 \[3, 1, 1, 2, 3\]"),
        (changed("splits", "test", torch.zeros(0, 5, 1, 2, 3)), r"splits\['test'\] must be .* not empty"),
        (changed("splits", "valid", torch.zeros(3, 5, 1, 2, 4)), r"splits\['valid'\] must hold frames of shape \[1, 2, 3\], as train, got \[1, 2, 4\]"),
        (changed("splits", "train", 1.5, (1, 2, 0, 1, 0)), r"splits\['train'\] must lie in \[0, 1\], got 1.5 at \[1, 2, 0, 1, 0\]"),
        (changed("splits", "train", float("nan"), (0, 0, 0, 0, 0)), r"splits\['train'\] must lie in \[0, 1\], got nan at"),
        (changed("lengths", "train", torch.tensor([5, 5])), r"lengths\['train'\] must be int64 of shape \[4\], got torch.int64 \[2\]"),
        (changed("lengths", "train", torch.ones(4)), r"lengths\['train'\] must be int64 of shape \[4\], got torch.float32 \[4\]"),
        (changed("lengths", "train", 1, 2), r"lengths\['train'\] must lie in \[2, 5\], got 1 at position 2"),
        (changed("lengths", "train", 6, 3), r"lengths\['train'\] must lie in \[2, 5\], got 6 at position 3"),
        (changed("lengths", "test", 4, 1), r"splits\['test'\] must be 0 after the end of a sequence, got other frames at position 1"),
    ],
)  # fmt: skip
def test_refuses_a_data_set(change, message):
    arguments = {"splits": splits(), "lengths": {part: torch.full((count,), 5) for part, count in SIZES.items()}}
    change(arguments)
    with pytest.raises(ValueError, match=message):
        SequenceDataset("tiny", **arguments)


# Digits


@pytest.mark.parametrize("form", ["rows", "strokes"])
def test_digits_are_split_once_each_and_end_as_they_are(form):
    dataset = load_digit_sequences(form)
    assert dataset.name == f"digit_{form}" and dataset.lengths is None and dataset.least_length == 8
    assert dataset.shape == ((1, 1, 8) if form == "rows" else (1, 8, 8))
    assert {part: len(x) for part, x in dataset.splits.items()} == {"train": 1137, "valid": 300, "test": 360}
    images = torch.from_numpy(sklearn.datasets.load_digits().images / 16).float()
    found = torch.cat([x[:, :, 0, 0] if form == "rows" else x[:, -1, 0] for x in dataset.splits.values()])
    assert sorted(found.flatten(1).tolist()) == sorted(images.flatten(1).tolist())


def test_the_split_is_that_of_its_seed():
    one, same, other = (load_digit_sequences(valid=10, test=20, split_seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(one.splits[part], same.splits[part]) for part in SIZES)
    assert not torch.equal(one.splits["test"], other.splits["test"])
    assert [len(one.splits[part]) for part in SIZES] == [1767, 10, 20]


def test_ink_appears_in_eight_equal_parts_and_stays():
    frames = load_digit_sequences("strokes").splits["train"][:, :, 0]
    ink = (frames > 0).flatten(2).sum(2)
    assert torch.equal(ink, -(-torch.arange(1, 9) * ink[:, -1:] // 8))  # ranks below (t + 1) n / 8
    shown = frames > 0
    assert (shown[:, 1:] >= shown[:, :-1]).all()
    assert torch.equal(frames[shown], frames[:, -1:].expand_as(frames)[shown])


def test_the_walk_follows_the_ink():
    image = np.zeros((4, 5), np.float32)
    image[0, 1:4], image[1, 4], image[2, 3] = 0.5, 0.25, 1.0  # a hook
    image[3, 0] = 0.75  # apart from it
    order = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 3), (3, 0)]
    frames = drawn(image)
    for t in range(8):
        seen = [pixel for rank, pixel in enumerate(order) if rank < (t + 1) * 6 / 8]
        assert sorted(map(tuple, np.argwhere(frames[t]))) == sorted(seen)
    np.testing.assert_array_equal(frames[-1], image)
    assert not drawn(np.zeros((4, 5), np.float32)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(form="dots"), r"form must be one of \['rows', 'strokes'\], got 'dots'"),
        (dict(valid=0), "valid and test must be at least 1 each and leave some of 1797 images, got 0 and 360"),
        (dict(valid=1000, test=797), "valid and test must .* got 1000 and 797"),
    ],
    ids=str,
)
def test_refuses_digits(options, message):
    with pytest.raises(ValueError, match=message):
        load_digit_sequences(**options)


# Chorales


def check_chorales(dataset):
    assert dataset.name == "jsb_chorales" and dataset.shape == (1, 1, 88) and dataset.least_length == 2
    sizes = {"train": (2, 3), "valid": (1, 4), "test": (3, 3)}
    assert {part: tuple(x.shape[:2]) for part, x in dataset.splits.items()} == sizes
    for part, chorales in CHORALES.items():
        assert dataset.lengths_of(part).tolist() == [len(c) for c in chorales]
        for roll, chords in zip(dataset.splits[part][:, :, 0, 0], chorales, strict=True):
            found = [[int(key) + 21 for key in frame.nonzero()[:, 0]] for frame in roll]
            assert found == [list(chord) for chord in chords] + [[]] * (len(roll) - len(chords))
            assert set(roll.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("root", ["data", "cache"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_found_below_either_root(roots, root, protocol):
    folder = roots / root / "jsb_chorales"
    folder.mkdir()
    (folder / "JSB Chorales.pickle").write_bytes(pickle.dumps(CHORALES, protocol))
    check_chorales(load_jsb_chorales())


def test_a_pickle_of_python_2(roots):
    body = "(d"  # opcodes as text: ( marks, d and l make a dictionary and a list, a appends, s sets
    for part, note in (("train", 60), ("valid", 61), ("test", 62)):
        chord = f"(lI{note}\na"
        body += f"S'{part}'\n(l(l{chord}a{chord}aas"
    (roots / "old.pickle").write_bytes(f"{body}.".encode())
    dataset = load_jsb_chorales(str(roots / "old.pickle"))
    assert dataset.splits["test"].nonzero().tolist() == [[0, 0, 0, 0, 41], [0, 1, 0, 0, 41]]


def test_json_of_any_name(roots):
    folder = roots / "data" / "jsb_chorales"
    folder.mkdir()
    for name in ("jsb-chorales-quarter.json", "jsb-chorales-16th.json"):
        (folder / name).write_text(json.dumps(CHORALES))
    check_chorales(load_jsb_chorales())
    check_chorales(load_jsb_chorales("jsb-chorales-16th.json"))
    check_chorales(load_jsb_chorales(str(folder / "jsb-chorales-16th.json")))


def test_without_a_file_it_tells_where_to_put_it(roots):
    with pytest.raises(MissingData) as found:
        load_jsb_chorales()
    told = str(found.value)
    assert str(roots / "data") in told and str(roots / "cache") in told and "in jsb_chorales or" in told
    assert "JSB Chorales.pickle, jsb-chorales-quarter.json" in told and "data.file=PATH" in told
    with pytest.raises(MissingData, match="elsewhere.json"):
        load_jsb_chorales("elsewhere.json")
    assert not list((roots / "cache").iterdir())


class Harm:
    def __reduce__(self):
        return print, ("this must never be printed",)


@pytest.mark.parametrize(
    "content", [Harm(), {"train": np.int64(60)}, {"train": [Harm()]}, set, torch.zeros(2)], ids=["call", "numpy", "inner", "class", "tensor"]
)  # fmt: skip
def test_nothing_in_a_pickle_is_run(roots, capfd, content):
    (roots / "bad.pickle").write_bytes(pickle.dumps(content))
    rule = "bad.pickle must be a pickle of containers, texts and numbers alone, got UnpicklingError: it asks for "
    with pytest.raises(ValueError, match=rule):
        load_jsb_chorales(str(roots / "bad.pickle"))
    assert "never" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pickle", b"", "a.pickle must be a pickle of .*, got EOFError"),
        ("a.pickle", b"\x80\x04garbage", "a.pickle must be a pickle of containers"),
        ("a.json", b"{", "a.json must be JSON, got JSONDecodeError"),
        ("a.json", b"[1]", "a.json must be a dictionary with the keys train, valid, test, got list"),
        ("a.json", b'{"train": []}', r"a.json must be a dictionary with the keys train, valid, test, got \['train'\]"),
        ("a.json", {**CHORALES, "valid": []}, r"a.json must hold a list of chorales as valid, got \[\]"),
        ("a.json", {**CHORALES, "test": 5}, "a.json must hold a list of chorales as test, got 5"),
        ("a.json", {**CHORALES, "valid": [[[60]]]}, r"a.json: valid\[0\] must be a list of at least 2 chords, got \[\[60\]\]"),
        ("a.json", {**CHORALES, "test": [7]}, r"a.json: test\[0\] must be a list of at least 2 chords, got 7"),
        ("a.json", {**CHORALES, "test": [[[60], [20]]]}, r"a.json: test\[0\]\[1\] must be a list of MIDI notes, integers from 21 to 108, got \[20\]"),
        ("a.json", {**CHORALES, "test": [[[60], [60.5]]]}, r"test\[0\]\[1\] must be a list of MIDI notes"),
        ("a.json", {**CHORALES, "test": [[60, [60]]]}, r"test\[0\]\[0\] must be a list of MIDI notes, .* got 60"),
    ],
)  # fmt: skip
def test_refuses_chorales(roots, name, content, message):
    (roots / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(ValueError, match=message):
        load_jsb_chorales(str(roots / name))
