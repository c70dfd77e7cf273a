import math

import pytest

from multipath_gcn.report import add_differences, paired_difference, read_runs, summarise
from multipath_gcn.report.text import cells


def test_interval_by_hand():
    # Differences 1, 2, 3: mean 2, deviation 1. With 2 degrees of freedom the quantile has a closed form, 4.302653.
    mean, low, high = paired_difference([81, 83, 85], [80, 81, 82])
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)
    assert mean == 2
    assert (low, high) == pytest.approx((2 - half, 2 + half), abs=1e-12)


def test_confidence():
    # With one degree of freedom the 75 % quantile is exactly 1: differences 0, 2, deviation sqrt(2), half-width 1.
    assert paired_difference([1, 3], [1, 1], confidence=0.5) == pytest.approx((1, 0, 2), abs=1e-12)


def test_pairing_removes_what_the_seed_contributes():
    mean, low, high = paired_difference([10.5, 50.5, 90.5], [10, 50, 90])
    assert (mean, low, high) == (0.5, 0.5, 0.5)


def test_one_pair_has_no_interval():
    mean, low, high = paired_difference([2], [1])
    assert mean == 1
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(
    ("a", "b", "confidence", "message"),
    [
        ([1, 2], [1], 0.95, "got 2 and 1 values"),
        ([], [], 0.95, "got 0 and 0 values"),
        ([math.nan], [1], 0.95, "must be finite"),
        ([1, 2], [1, 2], 1.0, r"confidence \(1.0\)"),
        ([1, 2], [1, 2], 95, r"confidence \(95\)"),
    ],
)
def test_refused(a, b, confidence, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(a, b, confidence)


def compared(runs, baseline, **options):
    found, _ = read_runs([runs])
    return add_differences(summarise(found, **options), found, baseline)


def test_only_common_seeds_and_matched_by_seed(runs, write_run):
    # Seeds 1 and 0 of the baseline are found in another order than those of the model.
    write_run("a0", model="plain", seed=1, test=0.70)
    write_run("a1", model="plain", seed=0, test=0.80)
    write_run("b0", model="multipath", seed=0, test=0.81)
    write_run("b1", model="multipath", seed=1, test=0.73)
    write_run("b2", model="multipath", seed=2, test=0.99)
    table = compared(runs, "plain")
    ours, theirs = table.to_dict("records")
    assert ours["test_minus_plain_mean"] == pytest.approx(2)
    assert ours["test_minus_plain_seeds"] == 2
    half = 12.706204736 * math.sqrt(2) / math.sqrt(2)
    assert ours["test_minus_plain_low"] == pytest.approx(2 - half, abs=1e-6)
    assert math.isnan(theirs["test_minus_plain_mean"])
    assert cells(table)["test - plain %"] == ["+2.00 [-10.71, +14.71] (2 of 3 seeds)", "baseline"]


def test_same_data_and_label(runs, write_run):
    for data, label, base in [("cora", "", 0.7), ("cora", "tuned", 0.8), ("citeseer", "", 0.5)]:
        write_run(f"{data}{label}p", data=data, label=label, config=f"p{label}", model="plain", test=base)
        write_run(f"{data}{label}m", data=data, label=label, config=f"m{label}", model="multipath", test=base + 0.1)
    table = compared(runs, "plain")
    ours = table[table["model"] == "multipath"]
    assert ours["test_minus_plain_mean"].tolist() == pytest.approx([10, 10, 10])


def test_paper_protocol_is_compared_too(runs, write_run):
    write_run("a", {"paper.test": 0.80}, model="plain")
    write_run("b", {"paper.test": 0.85}, model="multipath", test=0.9)
    table = compared(runs, "plain", protocol="both")
    assert table["paper_test_minus_plain_mean"][0] == pytest.approx(5)
    assert cells(table)["paper protocol: best test - plain %"] == ["+5.00", "baseline"]


def test_missing_baseline(runs, write_run):
    write_run("a", model="multipath")
    with pytest.raises(ValueError, match=r"baseline \(plain\) must be one row for cora, acc, found only multipath"):
        compared(runs, "plain")


def test_ambiguous_baseline(runs, write_run):
    write_run("a", model="multipath")
    write_run("b", model="plain", config="one")
    write_run("c", model="plain", config="two")
    with pytest.raises(ValueError, match="found the configs one, two"):
        compared(runs, "plain")


def test_no_common_seed(runs, write_run):
    write_run("a", model="multipath", seed=0)
    write_run("b", model="plain", seed=1)
    with pytest.raises(ValueError, match=r"must share a seed with multipath .* got the seeds \[1\] and \[0\]"):
        compared(runs, "plain")
