import sys
from dataclasses import replace

import channel_transform as benchmark
import pytest
import timing
import torch
from channel_transform_cases import GROUPS, OVERLAPS, Inputs, Shape, shapes
from channel_transform_peers import Way
from channel_transform_report import read_csv

CPU = torch.device("cpu")
SMALL = [
    (Shape(3, 32, 4, 64), "planar"),
    (Shape(3, 32, 4, 64), "channels_last"),
    (Shape(1, 32, 3, 32), "planar"),
    (Shape(2, 64, 1, 64), "planar"),
    (Shape(50, 64, 0, 64), "rows"),
]


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize(("shape", "layout"), SMALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_every_way_and_its_gradients_agree_with_float64(shape, layout, dtype, groups):
    inputs = Inputs(shape, layout, dtype, CPU)
    found = benchmark.contenders(inputs, groups, list(OVERLAPS), training=True)
    assert len(found) == 3 * len(OVERLAPS) + (3 if groups > 1 else 2)
    for key, forms in found.items():
        for way in forms:
            inputs.check(" ".join(map(str, key)), way, training=True, stock=key[0] != "ours")


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda x, w: x @ (w * 1.001).T, "output"),
        (lambda x, w: x @ w.T + (x.sum() - x.sum().detach()), "input gradient"),
        (lambda x, w: x @ w.T + (w.sum() - w.sum().detach()), "weight gradient"),
        (lambda x, w: (x @ w.T).T.contiguous().T, "must give rows"),
    ],
)
def test_a_wrong_way_is_told(run, what):
    way = Way(torch.zeros(8, dtype=torch.long), torch.randn(8, 4).requires_grad_(), run)
    with pytest.raises(ValueError, match=what):
        Inputs(Shape(5, 4, 0, 8), "rows", torch.float32, CPU).check("it", way, training=True)


def test_what_would_not_fit_is_left_out(monkeypatch):
    inputs = Inputs(Shape(4, 64, 4, 64), "planar", torch.float32, CPU)
    monkeypatch.setattr(benchmark, "GATHERED_LIMIT", 4 * inputs.x.nbytes)
    windows = [(name, co) for name, co in benchmark.contenders(inputs, 2, [0.0, 0.33, 0.5], True) if co is not None]
    assert ("gather", 0.0) in windows and ("gather", 0.5) in windows and ("strided", 0.5) in windows
    assert ("gather", 0.33) not in windows and ("strided", 0.33) not in windows  # 16 times the input
    assert ("strided", 0.33) in benchmark.contenders(inputs, 2, [0.0, 0.33], False)


def test_work_of_a_shape():
    shape = Shape(128, 64, 32, 64)
    assert shape.flops(2, training=False) == 2 * 128 * 32 * 32 * 64 * 32
    assert shape.bytes(2, training=True, itemsize=4) == 3 * 4 * (128 * 1024 * 128 + 64 * 32)
    assert len(shapes(channels_last=False)) == 36 and len(shapes(channels_last=True)) == 33
    assert replace(shape, size=0).rows == 128


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_from_the_command_line(dtype, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "shapes", lambda last: [Shape(2, 32, 4, 32), Shape(64, 32, 0, 32)])
    monkeypatch.setattr(timing, "peak_flops", lambda clock, dtype: 1e11)
    monkeypatch.setattr(timing, "bandwidth", lambda clock: 1e10)
    monkeypatch.setattr(benchmark, "MEMORY_FROM", 0)
    command = f"x --dtype {dtype} --cg 1 4 --co 0 .33 --seconds 0.001 --out {tmp_path}"
    monkeypatch.setattr(sys, "argv", command.split())
    benchmark.main()
    table, facts = read_csv(tmp_path / f"cpu_{dtype}.csv")
    assert len(table) == 2 * 2 * 2 * 2 and facts["peak GFLOP/s"] == "100.0" and facts["caches"] == "warm"
    assert table["grouped"].isna().sum() == 8 and table["slower"].isin([0, 1]).all()
    columns = ["ours", "dense", "gather", "strided", "scatter", "efficiency", "gain", "overlap_cost"]
    assert (table[columns].to_numpy() > 0).all()
    assert (table["overlap_cost"][table["overlap"] == 0] == 1).all()
    assert table["float32"].notna().any() == (dtype == "bfloat16") and table["extra_mib"].notna().all()
    text = (tmp_path / f"cpu_{dtype}.md").read_text()
    assert text in capsys.readouterr().out and "efficiency, training" in text
    assert (tmp_path / f"cpu_{dtype}.png").stat().st_size > 10_000
