import grouped_conv2d_others as others
import grouped_resnet34 as benchmark
import pytest
import torch
import turns
from torch import nn

SIZES = {"stages": ((16, 1), (32, 2)), "classes": 5}
INSTALLED = turns.Libraries({name: others.MODULES[name] for name in benchmark.MAKERS}).names


def test_the_whole_network_is_resnet34():
    tree = benchmark.network(lambda channels: 1)
    convolutions = [m for m in tree.modules() if isinstance(m, nn.Conv2d)]
    assert len([m for m in convolutions if m.kernel_size == (3, 3)]) == 32 and len(convolutions) == 32 + 1 + 3
    norms, bias = 17_024, 1_000
    assert sum(m.weight.numel() for m in [*convolutions, tree[-1]]) == 21_797_672 - norms - bias
    assert tree(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize("case", benchmark.GROUPS)
def test_every_way_gives_the_same_scores_and_is_timed(case, monkeypatch, capsys):
    for name in ("WARM", "SAMPLE"):
        monkeypatch.setattr(turns, name, 1e-4)
    with turns.Libraries({name: others.MODULES[name] for name in INSTALLED}) as libraries:
        times = benchmark.measure(case, libraries, 2, False, 0.0, size=32, **SIZES)
    assert list(times) == ["ours", "torch", "ours_last", "torch_last", *INSTALLED]


def test_ours_takes_the_place_of_every_convolution():
    tree = benchmark.ours(benchmark.network(lambda channels: channels // 4, **SIZES))
    assert sum(isinstance(m, benchmark.Packed) for m in tree.modules()) == 8
    assert not any(isinstance(m, nn.Conv2d) for m in tree.modules())


def test_wrong_scores_end_the_run():
    scores = torch.ones(1, 5)
    with pytest.raises(ValueError, match="scores of it must be within"):
        benchmark._check("it", scores * 1.001, scores.double())


def test_tables(tmp_path):
    rows = [
        {"network": case, "way": way, "q1": ms, "ms": ms, "q3": ms, "ratio": ms / 2}
        for case, rival in (("4 channels per group", 3.0), ("8 groups", 1.0))
        for way, ms in (("ours", 2.0), ("torch", rival))
    ]
    text = benchmark.write(rows, {"threads": 2}, tmp_path)
    assert "best peer torch / ours 1.50, goal 1.3: reached" in text
    assert "best peer torch / ours 0.50, goal 0.95: missed" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu.csv", "cpu.json", "cpu.md"]
