import json

import pandas as pd
import pytest

from multipath_gcn.report import plot_trade_off, pruning_table, read_runs, summarise
from multipath_gcn.report.cli import main
from multipath_gcn.report.trade_off import plot_pruning, pruning_markdown


def pruning(macs, straight, reestimated=None):
    scores = {"before": {"valid": 0.9, "test": 0.9}, "straight": {"valid": straight, "test": straight}}
    if reestimated is not None:
        scores["reestimated"] = {"valid": reestimated, "test": reestimated}
    costs = [{"macs": 1000 * part, "parameters": 500, "latency": 8.0 * part} for part in (1, macs)]
    return {"before": costs[0], "after": costs[1] | {"macs": int(1000 * macs)}, "scores": scores}


@pytest.fixture
def pruned(runs, write_run):
    for seed in range(2):
        for macs, test in ((0.5, 0.8), (0.25, 0.7)):
            told = pruning(macs, test - 0.4 + 0.02 * seed, test - 0.1)
            write_run(f"lasso{macs}{seed}", seed=seed, model="vgg lasso", config=f"c{macs}", test=test, pruning=told)
    write_run("plain", model="vgg")
    return runs


def test_means_over_seeds_of_the_runs_that_pruned(pruned):
    runs, problems = read_runs([pruned])
    assert not problems
    table = pruning_table(runs)
    assert table["macs"].tolist() == [0.25, 0.5] and table["seeds"].tolist() == [2, 2]
    assert table["straight_mean"].tolist() == pytest.approx([31, 41])
    assert table["straight_std"].tolist() == pytest.approx([2**0.5, 2**0.5])
    assert table["trained_mean"].tolist() == pytest.approx([70, 80])
    assert table["ms"].tolist() == [2, 4] and table["ms_before"].tolist() == [8, 8]
    assert "| vgg lasso |" in pruning_markdown(table) and "31.00 ± 1.41" in pruning_markdown(table)


def test_a_report_has_a_section_where_there_are_such_runs(pruned, capsys):
    assert main([str(pruned)]) == 0
    report = pruned / "report"
    assert (report / "pruning-cora-acc.png").stat().st_size > 1000
    assert len(pd.read_csv(report / "pruning.csv")) == 2
    assert (
        "## Pruning" in (report / "report.md").read_text()
        and "(pruning-cora-acc.png)" in (report / "report.md").read_text()
    )


def test_norms_that_were_not_counted_again_are_blank(runs, write_run):
    write_run("a", model="gcn similarity", pruning=pruning(0.5, 0.6))
    table = pruning_table(read_runs([runs])[0])
    assert "reestimated_mean" not in table
    assert "norms" not in pruning_markdown(table)


def test_only_some_configurations_counted_norms_again(runs, write_run):
    write_run("a", model="vgg lasso", config="c1", pruning=pruning(0.5, 0.6, 0.7))
    write_run("b", model="vgg|lasso", config="c2", pruning=pruning(0.4, 0.6))
    table = pruning_table(read_runs([runs])[0])
    assert table["reestimated_mean"].isna().tolist() == [False, True]
    assert "| vgg\\|lasso |" in pruning_markdown(table) and "|  |" in pruning_markdown(table)


def test_a_picture_for_each_data_set_and_a_line_for_each_label(runs, write_run, tmp_path, monkeypatch):
    for name, fields in {"a": {}, "b": {"label": "long"}, "c": {"data": "ogbn-x", "metric": "rocauc"}}.items():
        write_run(name, config=name, model="gcn l1", pruning=pruning(0.5, 0.6), **fields)
    drawn = {}
    monkeypatch.setattr(
        "multipath_gcn.report.trade_off.plot_trade_off",
        lambda points, path, score: drawn.update({path.name: (points["method"].tolist(), score)}),
    )
    plot_pruning(pruning_table(read_runs([runs])[0]), tmp_path)
    assert drawn == {
        "pruning-cora-acc.png": (["gcn l1", "gcn l1 long"], "test accuracy (%), cora"),
        "pruning-ogbn-x-rocauc.png": (["gcn l1"], "test ROC-AUC (%), ogbn-x"),
    }


def test_parameters_left_of_each_seed_are_one_row(runs, write_run):
    for seed in range(2):
        write_run(f"r{seed}", seed=seed, parameters=100 + seed, test=0.5 + seed / 10, pruning=pruning(0.5, 0.6))
    table = summarise(read_runs([runs])[0])
    assert table["seeds"].tolist() == [2] and table["parameters"].tolist() == [100]


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="points must hold rows and one of"):
        plot_trade_off(pd.DataFrame({"method": ["a"], "score": [1.0]}), tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_runs_without_pruning_have_no_table(runs, write_run):
    write_run("a")
    assert pruning_table(read_runs([runs])[0]).empty


@pytest.mark.parametrize(
    ("wrong", "named"),
    [(7, "pruning.before.macs"), ({"before": {}}, "pruning.before.macs"), ({"scores": 3}, "pruning.before.macs")],
)
def test_a_damaged_record_is_a_problem_of_its_run(wrong, named, runs, write_run):
    folder = write_run("a", pruning=wrong)
    found, problems = read_runs([runs])
    assert not found and problems[0].path == folder and named in problems[0].reason


def test_a_score_out_of_range_is_named(runs, write_run):
    told = pruning(0.5, 0.6, 0.7)
    told["scores"]["reestimated"]["test"] = 70
    write_run("a", pruning=json.loads(json.dumps(told)))
    _, problems = read_runs([runs])
    assert "pruning.scores.reestimated.test (70)" in problems[0].reason
