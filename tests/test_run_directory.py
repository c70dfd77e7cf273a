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
        config(measure={}),
    ]
    assert len({config_id(cfg) for cfg in same}) == 1
    budget = {"macs": 0.5}
    assert config_id(config(budget=budget)) == config_id(config(budget=budget | {"all": False}))
    other = [
        config(),
        config(budget=budget),
        config(budget={"macs": None, "all": True}),
        config(fit={"epochs": 6}),
        config(hidden=9),
        config(model={"depth": 1}),
        config(model={"width": 9}),
        config(measure={"zeros": 1}),
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
    (tmp_path / "result.json").write_text(json.dumps({"valid": 0.5, "test": 0.4}))
    assert read_result(tmp_path) == {"valid": 0.5, "test": 0.4}


@pytest.mark.parametrize("content", ['{"valid": 0.', "[1]", ""])
def test_a_damaged_result_is_named_and_kept(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=r"result.json is damaged .* kept as result.json.corrupt"):
        read_result(tmp_path)
    assert (tmp_path / "result.json.corrupt").read_text() == content
    assert read_result(tmp_path) is None


@pytest.mark.parametrize("content", ["{}", '{"valid": NaN, "test": 0.5}', '{"valid": "x", "test": 0.5}'])
def test_a_result_without_its_scores_is_damaged(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=r"result.json is damaged .* kept as result.json.corrupt"):
        read_result(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a: [", b"\xff\xfe\x00", b"- 1", b"fit: 3"])
def test_a_damaged_configuration_is_named_and_kept(tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"(?s)config.yaml is damaged .* kept as config.yaml.corrupt"):
        claim(tmp_path, config())
    assert (tmp_path / "config.yaml.corrupt").read_bytes() == content
    claim(tmp_path, config())


def test_equal_numbers_are_the_same_run():
    assert config_id(config(hidden=9)) == config_id(config(hidden=9.0)) != config_id(config(hidden=True))


def test_claim_removes_what_a_killed_write_has_left(tmp_path):
    (tmp_path / ".result.json.abc.partial").write_text("{")
    claim(tmp_path, config())
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
