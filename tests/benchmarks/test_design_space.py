import csv
import sys
from types import SimpleNamespace

import app
import design_space
import pytest

SMALL = ["data=digit_images", "fit.epochs=1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for sweep in (
            ["experiment=design_space/standard,design_space/separable"],
            ["experiment=design_space/grouped", "model.convolution.groups=2"],
            ["experiment=design_space/sliding", "model.convolution.groups=2", "model.convolution.overlap=0,0.5"],
        ):
            app.run(monkeypatch, folder, "-m", *sweep, *SMALL, "seed=0,1")
    return folder


def test_a_table_and_a_picture_come_out(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["design_space.py", str(runs), "--out", str(tmp_path), "--seconds", "0.01"])
    design_space.main()
    text = capsys.readouterr().out
    assert (tmp_path / "cpu.md").read_text() in text and (tmp_path / "cpu.png").stat().st_size > 10_000
    with open(tmp_path / "cpu.csv") as file:
        rows = {row["setting"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["standard", "dense", "grouped cg 2", "sliding cg 2 co 0", "sliding cg 2 co 0.5"]
    grouped, sliding = rows["grouped cg 2"], rows["sliding cg 2 co 0.5"]
    assert (grouped["parameters"], grouped["macs"]) == (sliding["parameters"], sliding["macs"])
    assert int(rows["standard"]["macs"]) > int(rows["dense"]["macs"]) > int(grouped["macs"])
    assert all(float(row["ms_1"]) > 0 and row["seeds"] == "2" for row in rows.values())
    for line in (
        "| cg 2, co 0.5 | grouped | 2 |",
        "| cg 2, co 0.5 | grouped, shuffled | 2 |",
        "| all cg, co > 0 | grouped |",
    ):
        assert line in text


def test_seeds_must_be_the_same(runs):
    settings = design_space.read(runs)
    assert {label: [run.seed for run in found] for label, found in settings.items()}["dense"] == [0, 1]
    (settings["dense"][1].path / "result.json").rename(settings["dense"][1].path / "gone.json")
    try:
        with pytest.raises(ValueError, match="RUNS must hold complete runs only"):
            design_space.read(runs)
    finally:
        (settings["dense"][1].path / "gone.json").rename(settings["dense"][1].path / "result.json")


def test_the_front_is_what_nothing_beats():
    found = [(1, 50), (2, 60), (2, 55), (3, 60), (4, 61)]
    rows = [{"macs": cost, "test": score} for cost, score in found]
    design_space.mark_fronts(rows)
    assert [row["front_macs"] for row in rows] == [True, True, False, False, True]


def test_differences_are_paired_by_seed_and_pooled_by_seed_and_groups():
    def runs(*scores):
        return [SimpleNamespace(seed=seed, test=score / 100) for seed, score in enumerate(scores)]

    settings = {
        "grouped cg 2": runs(50, 52),
        "grouped cg 4": runs(40, 41),
        "sliding cg 2 co 0": runs(51, 52),
        "sliding cg 2 co 0.5": runs(53, 56),
        "sliding cg 2 co 0.25": runs(51, 54),
        "sliding cg 4 co 0.5": runs(44, 45),
    }
    found = {
        (what, rival): (pairs, pytest.approx(middle))
        for what, rival, pairs, middle, *_ in design_space.differences(settings)
    }
    assert found["cg 2, co 0.5", "grouped"] == (2, 3.5)
    assert found["cg 2, co 0.25", "grouped, shuffled"] == (2, 1.0)
    assert found["cg 2, co 0", "grouped"] == (2, 0.5)
    assert found["all cg, co > 0", "grouped"] == (4, (2 + 3 + 4 + 4) / 4)
    assert found["all cg, co > 0", "grouped, shuffled"] == (2, (1 + 3) / 2)
