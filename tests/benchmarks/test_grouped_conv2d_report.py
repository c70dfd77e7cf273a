import numpy as np
import pandas as pd
import pytest
from grouped_conv2d_report import WAYS, add_figures, goals, read, write


def table():
    """One shape in 8 and in 16 groups, whose training is slower than PyTorch and than with half as many groups."""
    same = dict.fromkeys(WAYS, np.nan) | {"family": "resnet34", "shape": "a", "batch": 1, "flops": 6e9}
    same |= {"allowed_mib": 1.0, "extra_ours": 2.0, "extra_ours_last": 8.0}
    rows = [
        same
        | {"mode": "forward", "groups": 8, "per_group": 4, "ours": 2.0, "ours_last": 3.0, "torch": 9.0, "tvm": 6.0},
        same
        | {"mode": "forward", "groups": 16, "per_group": 2, "ours": 2.0, "ours_last": 1.0, "torch": 4.0, "tvm": 3.0},
        same | {"mode": "training", "groups": 8, "per_group": 4, "ours": 2.0, "ours_last": 3.0, "torch": 8.0},
        same | {"mode": "training", "groups": 16, "per_group": 2, "ours": 4.0, "ours_last": 5.0, "torch_last": 2.0},
    ]
    return add_figures(pd.DataFrame(rows))


def test_figures():
    first, second, _, last = table().to_dict("records")
    assert (first["ours_best"], first["torch_best"], first["best"]) == ("ours", "torch", "tvm")
    assert (first["ratio"], first["ratio_planar"], first["ratio_last"]) == (3, 3, 2) and first["ratio_torch"] == 4.5
    assert first["gflops"] == 3000 and first["gflops_best"] == 1000 and np.isnan(first["halved"])
    assert (second["ours_best"], second["halved"], second["halved_best"]) == ("ours_last", 0.5, "ours")
    assert (last["best"], last["ratio"], last["halved"]) == ("torch_last", 0.5, 2)


def test_goals_are_judged_one_by_one():
    found = {what: (value, verdict) for what, _, value, verdict in goals(table().assign(behind=0, dearer=[0, 0, 0, 1]))}
    assert found["forward, best peer, 2 and 4 channels per group"] == ("3", "reached")
    assert found["forward, best peer, depthwise"][1] == "not measured"
    assert found["training, PyTorch, 4 and fewer channels per group"] == ("1.41", "missed")
    assert found["training, PyTorch, least"] == ("0.5 (1 of 2 points beyond, 0 when run again)", "missed")
    again = "2 (1 of 2 points beyond, 1 when run again)"
    assert found["training, time with 2G groups / with G, greatest"] == (again, "missed")
    assert found["extra memory above what is allowed, MiB"] == ("7", "missed")


def test_files_read_back(tmp_path):
    write(table(), {"threads": 2}, tmp_path / "a")
    found, facts = read(tmp_path / "a.csv")
    assert facts == {"threads": 2}
    assert found["ratio"].tolist() == pytest.approx(table()["ratio"].tolist())
