import numpy as np
import pandas as pd
import pytest
from channel_transform_report import PEERS, add_figures, goals, read_csv, write_csv

FACTS = {"threads": 2, "hardware": "x: y"}


def table():
    """Two overlaps of one point: 4 GFLOP and 1 GB in 20 and 25 ms, where 100 GFLOP/s and 100 GB/s allow 40 and 10 ms."""
    same = {"shape": "a", "batch": 1, "channels": 8, "size": 0, "filters": 8, "groups": 4, "pass": "forward"}
    same |= {"dtype": "float32", "flops": 4e9, "bytes": 1e9, "extra_mib": np.nan, "float32": np.nan, "scatter": 50.0}
    same |= {"dense": 80.0, "grouped": 60.0, "gather": np.nan}
    rows = [
        same | {"overlap": 0.0, "ours": 50.0, "strided": 40.0},
        same | {"overlap": 0.5, "ours": 55.0, "strided": 70.0},
    ]
    return add_figures(pd.DataFrame(rows), peak=1e11, bandwidth=1e11)


def test_figures():
    first, second = table().to_dict("records")
    assert first["efficiency"] == pytest.approx(0.8) and first["compute_bound"]
    assert first["gain"] == pytest.approx(1.6) and first["possible_gain"] == 4  # 8 by bytes, 4 groups
    assert (first["best"], first["best_ratio"]) == ("strided", 0.8)
    assert (second["best"], second["best_ratio"]) == ("scatter", pytest.approx(50 / 55))
    assert np.isnan(first["ratio_gather"]) and first["overlap_cost"] == 1
    assert second["overlap_cost"] == pytest.approx(1.1)


def test_goals_are_judged_one_by_one():
    verdict = {what: (value, verdict) for what, _, value, verdict in goals(table().assign(slower=[1, 0]), FACTS)}
    assert verdict["efficiency, forward"] == ("0.763", "reached")
    assert verdict["share of the possible gain over dense, forward"][1] == "missed"
    assert verdict["efficiency, training"][1] == "not measured"
    assert verdict["cost of overlap, forward, worst (cg, co)"][1] == "reached"
    assert verdict["points more than 5 % slower than the best peer"] == ("1 (2 in the first run)", "missed")
    again = goals(table(), FACTS)
    assert next(row[3] for row in again if row[0].startswith("points more")) == "not measured"


def test_the_csv_reads_back(tmp_path):
    write_csv(table(), FACTS, tmp_path / "a.csv")
    read, facts = read_csv(tmp_path / "a.csv")
    assert facts == {"threads": "2", "hardware": "x: y"}
    pd.testing.assert_frame_equal(read[list(PEERS)], table()[list(PEERS)], check_dtype=False)
