import math

import pandas as pd
import pytest
from scipy.stats import ttest_ind

from multipath_gcn.report import read_runs, summarise
from multipath_gcn.report.leaderboard import OURS, against_published, cells, latex, leaderboard, published, welch


@pytest.fixture
def on_arxiv(runs, write_run):
    for seed in range(10):
        write_run(f"a{seed}", seed=seed, data="ogbn-arxiv", test=0.72 + 0.001 * seed)
    for seed in range(3):
        write_run(f"b{seed}", seed=seed, data="ogbn-arxiv", model="multi_path", config="ffff0000", test=0.70)
    return read_runs([runs])[0]


def test_ours_stand_among_the_published(on_arxiv):
    table = leaderboard(summarise(on_arxiv), on_arxiv)
    assert table["test"].is_monotonic_decreasing and (table["source"] == OURS).sum() == 2
    ours = table[table["source"] == OURS].set_index("method")
    assert ours.loc["plain", "test"] == pytest.approx(72.45) and ours.loc["plain", "test_std"] == pytest.approx(
        0.30277, abs=1e-4
    )
    assert ours["by_rule"].to_dict() == {"plain": True, "multi_path": False}
    shown = dict(zip(cells(table)["method"], cells(table)["seeds"], strict=True))
    assert shown["multi_path"] == "3 (not 0-9)" and shown["plain"] == "10" and shown["GCN"] == "10"


def test_other_data_have_no_published_rows(runs, write_run):
    write_run("a")
    found = read_runs([runs])[0]
    table = leaderboard(summarise(found), found)
    assert table["source"].tolist() == [OURS] and against_published(table).empty


def test_every_published_row_says_where_it_is_from():
    table = published(["ogbn-arxiv", "ogbn-products", "ogbn-proteins", "ogbn-mag"])
    assert len(table) > 20 and table["source"].str.match(r"https://").all()
    assert not table.duplicated(["data", "method"]).any() and table["test"].between(20, 100).all()


def test_welch_is_scipys_on_the_values_themselves():
    a, b = [0.1, 0.4, 0.35, 0.8], [0.5, 0.7, 0.9]
    frame = pd.Series(a), pd.Series(b)
    difference, p = welch(*(f(x) for x in frame for f in (pd.Series.mean, pd.Series.std, len)))
    assert difference == pytest.approx(sum(a) / 4 - sum(b) / 3)
    assert p == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue, rel=1e-12)
    assert math.isnan(welch(1.0, math.nan, 10, 2.0, 0.1, 10)[1]) and math.isnan(welch(1.0, 0.1, 1, 2.0, 0.1, 10)[1])


def test_differences_to_the_published(on_arxiv):
    table = against_published(leaderboard(summarise(on_arxiv), on_arxiv)).set_index(["method", "baseline"])
    assert table.loc[("plain", "GCN"), "difference"] == pytest.approx(72.45 - 71.74)
    assert table.loc[("plain", "GCN"), "p"] < 0.001 and math.isnan(table.loc[("plain", "Label propagation"), "p"])


def test_latex_escapes_what_it_must(on_arxiv):
    text = latex(leaderboard(summarise(on_arxiv), on_arxiv))
    assert r"multi\_path" in text and r"72.45 $\pm$ 0.30" in text and r"Linear + C\&S" in text and r"test \%" in text
    assert text.count(r"\\") == 1 + len(leaderboard(summarise(on_arxiv), on_arxiv)) and text.startswith(
        r"\begin{tabular}{llrrrr}"
    )
