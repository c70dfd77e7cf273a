import sys

import pandas as pd
import separable_conv2d as benchmark


def test_every_format_is_timed_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark.torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(benchmark, "QUICK", {"512@2>512"})
    rule = sys.modules[benchmark.PackedSeparableConv2d.__module__]
    monkeypatch.setattr(rule, "together_is_faster", rule.together_is_faster)  # put back
    for flags in ([], ["--together"]):
        monkeypatch.setattr(
            sys, "argv", ["separable", "--quick", *flags, "--batch", "1", "--seconds", "0", "--out", str(tmp_path)]
        )
        benchmark.main()
        table = pd.read_csv(tmp_path / f"{'together_' if flags else ''}quick_cpu_float32.csv")
        assert list(table["format"]) == ["planar", "planar", "last", "last"] and set(table["cg"]) == {2, 8}
        assert (table[["fused", "two", "torch"]] > 0).all().all()
        text = (tmp_path / f"{'together_' if flags else ''}quick_cpu_float32.md").read_text()
        assert "| batch 1, planar | 2 |" in text
