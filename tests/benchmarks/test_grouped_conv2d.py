import sys

import grouped_conv2d as benchmark
import grouped_conv2d_others as others
import grouped_conv2d_peers as peers
import pytest
import timing
import torch
import turns
from grouped_conv2d_cases import QUICK, Inputs, Layer, layers
from grouped_conv2d_report import read

SMALL = [
    Layer("resnet34", 2, 8, 7, 7, 8, 1),
    Layer("resnet34", 2, 8, 7, 7, 16, 4, stride=2),
    Layer("resnext", 1, 8, 5, 6, 8, 2),
    Layer("resnext", 16, 8, 5, 6, 8, 8),
    Layer("pathology", 1, 8, 4, 4, 8, 4, kernel=1, threads=1),
    Layer("pathology", 1, 4, 5, 5, 8, 2, kernel=5),
]
INSTALLED = turns.Libraries(others.MODULES).names


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in (("WARM", 1e-4), ("SAMPLE", 1e-4)):
        monkeypatch.setattr(turns, name, seconds)


@pytest.mark.parametrize("layer", SMALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_way_and_its_gradients_agree_with_float64(layer, dtype):
    inputs = Inputs(layer, dtype)
    for ways in (peers.forward(inputs), peers.training(inputs)):
        for name, way in ways.items():
            inputs.check(name, way.run(), way.last, way.stock)
    assert set(ways) == {"ours", "ours_last", "torch", "torch_last"} and len(way.run()) == 3


@pytest.mark.parametrize("name", others.MODULES)
def test_other_libraries_agree_with_float64(name):
    if name not in INSTALLED:
        pytest.skip(f"{name} is not installed")
    with turns.Libraries({name: others.MODULES[name]}) as libraries:
        bench = benchmark.Bench(libraries, 2, torch.float32, 0.0, (1, 1))
        for layer in SMALL:
            assert list(bench.elsewhere(Inputs(layer, torch.float32))) == [name]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda y, x, w: (y * 1.001, x, w), "output"),
        (lambda y, x, w: (y, x * 1.001, w), "input gradient"),
        (lambda y, x, w: (y, x, w * 1.001), "weight gradient"),
        (lambda y, x, w: (y.contiguous(memory_format=torch.channels_last), x, w), "must give planar"),
    ],
)
def test_a_wrong_way_is_told(spoil, what):
    inputs = Inputs(SMALL[0], torch.float32)
    results = peers.training(inputs)["torch"].run()
    inputs.check("it", results, last=False)
    with pytest.raises(ValueError, match=what):
        inputs.check("it", spoil(*results), last=False)


def test_layers():
    assert len(layers()) == 2 * (7 + 8 + 9 + 10 + 7 + 8 + 9 + 7) + 15
    assert len(set(map(str, layers()))) == len(layers()) and set(QUICK) <= set(layers())
    layer = Layer("resnet34", 16, 64, 56, 56, 128, 32, stride=2, reported=64)
    assert str(layer) == "resnet34 n16(of 64) 64x56x56->128 s2 g32" and layer.per_group == 2
    assert layer.out_size == (28, 28) and layer.flops(True) == 3 * 2 * 16 * 28 * 28 * 128 * 2 * 9


def test_a_failing_library_is_named_and_left_out(capsys, monkeypatch):
    monkeypatch.setitem(others.MAKERS, "onnxruntime", int)  # int(conv, x, threads) is a TypeError
    with turns.Libraries({"onnxruntime": ("numpy",)}) as libraries:
        bench = benchmark.Bench(libraries, 2, torch.float32, 0.0, (1, 1))
        assert bench.elsewhere(Inputs(SMALL[0], torch.float32)) == {}
    assert bench.failed[0].startswith("onnxruntime on resnet34 n2 8x7x7->8 g1: TypeError")
    assert "left out: onnxruntime" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_from_the_command_line(dtype, tmp_path, monkeypatch, capsys):
    shapes = [Layer("resnet34", 1, 8, 6, 6, 8, groups) for groups in (1, 2, 4, 8)]
    monkeypatch.setattr(benchmark, "layers", lambda batches: shapes)
    monkeypatch.setattr(benchmark, "MEMORY_FROM", 0)
    monkeypatch.setattr(timing, "extra_memory", lambda call, device: 0.5)
    monkeypatch.setattr(sys, "argv", f"x --dtype {dtype} --only g[248] --peers --seconds 0 --out {tmp_path}".split())
    threads = torch.get_num_threads()
    try:
        benchmark.main()
    finally:
        torch.set_num_threads(threads)
    table, facts = read(tmp_path / f"cpu_{dtype}.csv")
    assert list(table["groups"]) == [2, 2, 4, 4, 8, 8] and set(table["mode"]) == {"forward", "training"}
    assert (table[["ours", "ours_last", "torch", "torch_last", "ratio", "ratio_torch"]] > 0).all(axis=None)
    assert table["halved"].notna().sum() == 4 and table["behind"].isin([0, 1]).all()
    assert table["onnxruntime"].isna().all() and facts["failed"] == "none"
    assert (tmp_path / f"cpu_{dtype}.md").read_text() in capsys.readouterr().out
    assert (tmp_path / f"cpu_{dtype}.png").stat().st_size > 10_000
