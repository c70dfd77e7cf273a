import sys

import pytest

from multipath_gcn import cli


def refused(monkeypatch, capsys, tmp_path, *overrides):
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["multipath-gcn", f"runs={tmp_path}", *overrides])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["data=cora2"], ["cora2", "Available options in 'data'", "cora", "digits", "ogbn_arxiv", "synthetic"]),
        (["model=transformer"], ["transformer", "Available options in 'model'", "multipath", "resgcn"]),
        (["experiment=none"], ["none", "Available options in 'experiment'", "first_light"]),
        (["fit.epocks=3"], ["fit.epocks", "Keys that exist there: checkpoint_seconds, ema, epochs, patience"]),
        (["modle=gcn"], ["modle", "Keys that exist there", "model", "optimizer"]),
        (["model.combine=product"], ["combine must be one of", "got 'product'"]),
        (["model.paths=3"], ["paths must be a sequence", "got 3"]),
        (["fit.epochs=abc"], ["abc", "Integer", "fit.epochs"]),
        (["hidden_channels=1.5"], ["1.5", "Integer", "hidden_channels"]),
        (["seed=null"], ["null", "seed"]),
        (["seed=-1"], ["seed must lie in [0, 2**32), got -1"]),
        (["threads=0"], ["threads must be null or at least 1, got 0"]),
        (["optimizer.lr=abc"], ["abc", "float"]),
        (["task.drop_node=abc"], ["drop_node", "abc"]),
        (["task.label_reuse=2"], ["label_reuse must lie in (0, 1), got 2"]),
        (["fit.epochs=0"], ["epochs must be at least 1, got 0"]),
        (["model.paths=[[3],[4]]"], ["paths must end in equal widths", "[3, 4]"]),
    ],
)
def test_a_wrong_input_is_one_sentence_with_what_exists(monkeypatch, capsys, tmp_path, overrides, parts):
    error = refused(monkeypatch, capsys, tmp_path, *overrides)
    for part in parts:
        assert part in error


def test_missing_data_names_the_root_the_files_and_what_needs_none(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MULTIPATH_GCN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MULTIPATH_GCN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("multipath_gcn.data.download.urlopen", _no_network)
    error = refused(monkeypatch, capsys, tmp_path, "data=cora")
    for part in (str(tmp_path / "data"), "ind.cora.x", "data=digits"):
        assert part in error


def _no_network(*args, **kwargs):
    raise OSError("no network")
