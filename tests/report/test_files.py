import math

import pytest

from multipath_gcn.report.files import FIELDS, read_curve, read_result


def test_result_by_dotted_name(write_run):
    fields = read_result(write_run("a") / "result.json")
    assert list(fields) == list(FIELDS)
    assert fields["seed"] == 0
    assert fields["paper.test"] == 0.82
    assert fields["host.hardware"] == "Some CPU, 2 threads"


def test_label_is_optional(write_run):
    assert read_result(write_run("a", {"label": None}) / "result.json")["label"] == ""


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("label", "version")])
def test_missing_key(write_run, name):
    with pytest.raises(ValueError, match=f"must have the key {name}"):
        read_result(write_run("a", {name: None}) / "result.json")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("test", math.nan, "a number from 0 to 1"),
        ("test", 81.1, "a number from 0 to 1"),
        ("test", "0.8", "a number from 0 to 1"),
        ("valid", True, "a number from 0 to 1"),
        ("paper.test", -0.1, "a number from 0 to 1"),
        ("seed", -1, "an integer >= 0"),
        ("seed", 1.0, "an integer >= 0"),
        ("seed", False, "an integer >= 0"),
        ("best_epoch", 0, "an integer >= 1"),
        ("parameters", 10**30, "an integer >= 0"),
        ("synthetic", 1, "true or false"),
        ("model", " ", "a printable, non-empty string"),
        ("model", "a\nb", "a printable, non-empty string"),
        ("label", 3, "a printable string"),
        ("timing.seconds_per_epoch", math.inf, "a finite number >= 0"),
        ("memory.peak_mib", [1], "a finite number >= 0"),
    ],
)
def test_wrong_value_names_field_rule_and_value(write_run, name, value, rule):
    with pytest.raises(ValueError, match=rule) as error:
        read_result(write_run("a", {name: value}) / "result.json")
    assert str(error.value).startswith(f"{name} (")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"seed": ' + b"1" * 5000 + b"}"])
def test_invalid_json(tmp_path, content):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"result\.json"):
        read_result(path)


def test_json_of_another_kind(tmp_path):
    (tmp_path / "result.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"must hold a JSON object, got \[1, 2\]"):
        read_result(tmp_path / "result.json")


def test_curve(write_run):
    assert read_curve(write_run("a", curve=(0.25, 0.5)) / "history.csv") == (0.25, 0.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must have the column epoch"),
        ("epoch,loss\n1,2\n", "must have the column valid"),
        ("epoch,valid\n", "at least one epoch"),
        ("epoch,valid\n1,0.5\n2\n", "epoch 2 of history.csv must have 2 cells"),
        ("epoch,valid\n1,0.5,7\n", "epoch 1 of history.csv must have 2 cells"),
        ("epoch,valid\n1,0.5\n3,0.5\n", r"epoch \('3'\) in line 3 of history.csv must be 2"),
        ("epoch,valid\n1,0.5\n1,0.5\n", r"epoch \('1'\) in line 3"),
        ("epoch,valid\n1,nan\n", r"valid \('nan'\) at epoch 1"),
        ("epoch,valid\n1,\n", r"valid \(''\) at epoch 1"),
        ("epoch,valid\n1,1.5\n", r"valid \('1.5'\) at epoch 1"),
        ("epoch,valid\n1,x\n", r"valid \('x'\) at epoch 1"),
        ('epoch,valid\n1,"0.5\n', "not valid CSV"),
        ("epoch,valid\n1,\xff\n".encode("latin-1"), "not valid CSV"),
    ],
)
def test_unreadable_history(tmp_path, content, message):
    path = tmp_path / "history.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_curve(path)
