import json

import pytest
from omegaconf import OmegaConf

from multipath_gcn.run_directory import claim, config_id, read_result

BASE = {
    "seed": 0,
    "runs": "runs",
    "metric": "valid",
    "logger": {},
    "fit": {"epochs": 5, "checkpoint_seconds": 30},
    "hidden": 8,
    "model": {"width": "${hidden}", "data_seed": "${seed}"},
}


def config(**changes):
    return OmegaConf.merge(BASE, changes)


def test_id_stands_for_all_that_decides_the_numbers_but_the_seed():
    same = [
        config(),
        config(seed=3),
        config(runs="elsewhere"),
        config(metric="test"),
        config(logger={"csv": 1}),
        config(fit={"checkpoint_seconds": 1}),
        config(hydra={"x": 1}),
    ]
    assert len({config_id(cfg) for cfg in same}) == 1
    other = [
        config(),
        config(fit={"epochs": 6}),
        config(hidden=9),
        config(model={"depth": 1}),
        config(model={"width": 9}),
    ]
    assert len({config_id(cfg) for cfg in other}) == len(other)


def test_claim_writes_the_resolved_configuration(tmp_path):
    claim(tmp_path, config())
    assert OmegaConf.load(tmp_path / "config.yaml").model.width == 8
    claim(tmp_path, config(runs="elsewhere"))  # the same run again


def test_claim_refuses_the_directory_of_another_run(tmp_path):
    claim(tmp_path, config())
    before = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match=r"differs in: fit.epochs \(5 there, 6 here\), seed \(0 there, 1 here\)"):
        claim(tmp_path, config(seed=1, model={"data_seed": 0}, fit={"epochs": 6}))
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_read_result(tmp_path):
    assert read_result(tmp_path) is None
    (tmp_path / "result.json").write_text(json.dumps({"valid": 0.5}))
    assert read_result(tmp_path) == {"valid": 0.5}


@pytest.mark.parametrize("content", ['{"valid": 0.', "[1]", ""])
def test_a_damaged_result_is_named_and_kept(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=r"result.json cannot be read .* kept as result.json.corrupt"):
        read_result(tmp_path)
    assert (tmp_path / "result.json.corrupt").read_text() == content
    assert read_result(tmp_path) is None
