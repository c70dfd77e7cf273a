import math

import pytest

from multipath_gcn.report import read_runs, summarise
from multipath_gcn.report.table import names
from multipath_gcn.report.text import cells


def table_of(runs, **options):
    return summarise(read_runs([runs])[0], **options)


def test_statistics_by_hand(runs, write_run):
    # 80, 82, 87: mean 83, squared deviations 9 + 1 + 16 = 26, unbiased variance 13.
    for seed, test, valid, epoch, seconds, mib in [
        (0, 0.80, 0.70, 10, 0.1, 800.0),
        (1, 0.82, 0.72, 40, 0.3, 900.5),
        (2, 0.87, 0.74, 11, 0.2, 850.0),
    ]:
        change = {"timing.seconds_per_epoch": seconds, "memory.peak_mib": mib}
        write_run(f"s{seed}", change, seed=seed, test=test, valid=valid, best_epoch=epoch)
    [row] = table_of(runs).to_dict("records")
    assert row["seeds"] == 3
    assert row["test_mean"] == pytest.approx(83, abs=1e-12)
    assert row["test_std"] == pytest.approx(math.sqrt(13), abs=1e-12)
    assert row["valid_mean"] == pytest.approx(72, abs=1e-12)
    assert row["valid_std"] == pytest.approx(2, abs=1e-12)
    assert row["best_epoch"] == 11
    assert row["seconds_per_epoch"] == 0.2
    assert row["peak_mib"] == 900.5
    assert row["parameters"] == 217479
    assert row["hardware"] == "Some CPU, 2 threads"
    assert "paper_test_mean" not in row


def test_paper_protocol_only_on_request(runs, write_run):
    for seed, test, epoch in [(0, 0.90, 4), (1, 0.94, 7)]:
        write_run(f"s{seed}", {"paper.test": test, "paper.epoch": epoch}, seed=seed)
    table = table_of(runs, protocol="both")
    [row] = table.to_dict("records")
    assert row["paper_test_mean"] == pytest.approx(92)
    assert row["paper_test_std"] == pytest.approx(2 * math.sqrt(2))
    assert row["paper_epoch"] == 5.5
    assert cells(table)["paper protocol: best test %"] == ["92.00 ± 2.83"]
    assert not any("paper" in heading for heading in cells(table_of(runs)))
    with pytest.raises(ValueError, match=r"protocol \('paper'\)"):
        table_of(runs, protocol="paper")


def test_single_seed_shows_no_deviation(runs, write_run):
    write_run("a", test=0.8034)
    table = table_of(runs)
    assert math.isnan(table["test_std"][0])
    assert cells(table)["test %"] == ["80.34"]


def test_equal_seeds_have_deviation_zero(runs, write_run):
    write_run("a", seed=0)
    write_run("b", seed=1)
    assert cells(table_of(runs))["test %"] == ["80.00 ± 0.00"]


def test_rows_and_order(runs, write_run):
    write_run("a", data="cora", model="plain", test=0.7)
    write_run("b", data="cora", model="multipath", test=0.9)
    write_run("c", data="cora", model="multipath", config="wide", test=0.8)
    write_run("d", data="cora", model="multipath", config="long", label="tuned", test=0.85)
    write_run("e", data="citeseer", model="plain", test=0.1)
    table = table_of(runs)
    assert list(zip(table["data"], table["model"], table["test_mean"].round(6), strict=True)) == [
        ("citeseer", "plain", 10),
        ("cora", "multipath", 90),
        ("cora", "multipath", 85),
        ("cora", "multipath", 80),
        ("cora", "plain", 70),
    ]
    assert names(table) == ["plain", "multipath 1a2b3c4d", "multipath tuned", "multipath wide", "plain"]
    assert cells(table)["label"] == ["", "", "tuned", "", ""]


def test_mixed_hardware_is_named_once_each(runs, write_run):
    for seed, hardware in enumerate(["B", "A", "B"]):
        write_run(f"s{seed}", {"host.hardware": hardware}, seed=seed)
    assert table_of(runs)["hardware"].tolist() == ["A / B"]


def test_numbers_as_people_read_them(runs, write_run):
    write_run("a", {"timing.seconds_per_epoch": 0.03126, "memory.peak_mib": 12345.6}, parameters=1081350)
    write_run("b", {"timing.seconds_per_epoch": 1234.5}, model="slow", test=0.1)
    columns = cells(table_of(runs))
    assert columns["s/epoch"] == ["0.0313", "1234"]
    assert columns["peak MiB"] == ["12,346", "800"]
    assert columns["parameters"] == ["1,081,350", "217,479"]
    assert "label" not in columns


def test_no_runs():
    with pytest.raises(ValueError, match="at least one run"):
        summarise([])
