import sys

import grouped_conv2d_dispatch as benchmark
import pandas as pd


def test_every_place_and_format_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark.torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "dispatch",
            "--out",
            str(tmp_path),
            "--batch",
            "1",
            "--seconds",
            "0",
            "--only",
            "resnet34 n1 512x7x7->512 g512$",
        ],
    )
    benchmark.main()
    (found,) = tmp_path.glob("float32*.csv")  # named after the processor's vectors
    table = pd.read_csv(found)
    assert list(table["place"]) == ["y", "x", "weight"] * 2 and set(table["format"]) == {"planar", "last"}
    assert (table["ours"] > 0).all() and (table["torch"] > 0).all()
    assert found.with_suffix(".json").exists()
