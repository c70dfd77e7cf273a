r"""The rows of a leaderboard: ten seeds, mean and unbiased deviation, published results beside them, and Welch's test.

.. math::
    t = \frac{\bar a - \bar b}{\sqrt{s_a^2 / n_a + s_b^2 / n_b}}, \qquad
    \nu = \frac{(s_a^2 / n_a + s_b^2 / n_b)^2}{(s_a^2 / n_a)^2 / (n_a - 1) + (s_b^2 / n_b)^2 / (n_b - 1)}
"""

import math
from collections.abc import Sequence
from importlib.resources import files

import pandas as pd

from .runs import Run
from .table import names

SEEDS = 10  # of OGB's rule, 0 to 9
OURS = "this report"
COLUMNS = [
    "data", "method", "test", "test_std", "valid", "valid_std", "seeds", "parameters", "hardware", "source", "by_rule",
]  # fmt: skip


def published(data: Sequence[str]) -> pd.DataFrame:
    """Results of others on these data sets, in percent; published.csv names the source of each."""
    table = pd.read_csv(files(__package__) / "published.csv")
    return table[table["data"].isin(data)].reset_index(drop=True)


def leaderboard(table: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Ours and those of others, by data and falling test score; the table is the summary of the runs.

    ``by_rule``: whether a row of ours has the seeds 0 to 9; of the others this is not known, and None.
    """
    seeds = {key: sorted(group) for key, group in _seeds(runs).items()}
    ours = pd.DataFrame(
        {
            "data": table["data"],
            "method": names(table),
            **{name: table[f"{name}_mean"] for name in ("test", "valid")},
            **{f"{name}_std": table[f"{name}_std"] for name in ("test", "valid")},
            "seeds": table["seeds"],
            "parameters": table["parameters"],
            "hardware": table["hardware"],
            "source": OURS,
            "by_rule": [
                seeds[row.data, row.model, row.label, row.config] == list(range(SEEDS)) for row in table.itertuples()
            ],
        }
    )
    both = pd.concat([ours, published(table["data"].unique())], ignore_index=True).reindex(columns=COLUMNS)
    return both.sort_values(["data", "test"], ascending=[True, False], kind="stable", ignore_index=True)


def _seeds(runs: Sequence[Run]) -> dict[tuple, list[int]]:
    found: dict[tuple, list[int]] = {}
    for run in runs:
        found.setdefault((run.data, run.model, run.label, run.config), []).append(run.seed)
    return found


def welch(
    mean: float, deviation: float, count: float, other: float, other_deviation: float, other_count: float
) -> tuple[float, float]:
    """Difference of two means, and the two-sided p of Welch's test: NaN without deviations or a second seed.

    Args:
        mean, deviation, count: of one, its deviation unbiased.
        other, other_deviation, other_count: of the other.
    """
    parts = (deviation, other_deviation, count, other_count)
    if any(math.isnan(value) for value in parts) or min(count, other_count) < 2 or deviation == other_deviation == 0:
        return mean - other, math.nan
    from scipy.stats import ttest_ind_from_stats  # slow to import, and wanted only here

    found = ttest_ind_from_stats(mean, deviation, count, other, other_deviation, other_count, equal_var=False)
    return mean - other, float(found.pvalue)


def against_published(table: pd.DataFrame) -> pd.DataFrame:
    """One line for each of our rows and each published one on the same data: difference in points, and Welch's p."""
    ours, others = (table[table["source"] == OURS], table[table["source"] != OURS])
    lines = []
    for a in ours.itertuples():
        for b in others[others["data"] == a.data].itertuples():
            difference, p = welch(a.test, a.test_std, a.seeds, b.test, b.test_std, b.seeds)
            lines.append({"data": a.data, "method": a.method, "baseline": b.method, "difference": difference, "p": p})
    return pd.DataFrame(lines, columns=["data", "method", "baseline", "difference", "p"])


def cells(table: pd.DataFrame) -> dict[str, list[str]]:
    """Heading to formatted cells, for Markdown and LaTeX."""

    def spread(name: str) -> list[str]:
        pairs = zip(table[name], table[f"{name}_std"], strict=True)
        return ["" if pd.isna(m) else f"{m:.2f}" + ("" if pd.isna(s) else f" ± {s:.2f}") for m, s in pairs]

    def whole(name: str) -> list[str]:
        return ["" if pd.isna(value) else f"{int(value):,}" for value in table[name]]

    return {
        "data": table["data"].tolist(),
        "method": table["method"].tolist(),
        "test %": spread("test"),
        "validation %": spread("valid"),
        "parameters": whole("parameters"),
        "seeds": [
            count + ("" if rule is not False else " (not 0-9)")
            for count, rule in zip(whole("seeds"), table["by_rule"], strict=True)
        ],
        "hardware": table["hardware"].fillna("").tolist(),
        "source": table["source"].tolist(),
    }


def comparison_cells(table: pd.DataFrame) -> dict[str, list[str]]:
    """The same of :func:`against_published`."""
    return {
        "data": table["data"].tolist(),
        "method": table["method"].tolist(),
        "baseline": table["baseline"].tolist(),
        "difference": [f"{value:+.2f}" for value in table["difference"]],
        "p": ["" if pd.isna(value) else f"{value:.2g}" for value in table["p"]],
    }


def latex(table: pd.DataFrame) -> str:
    """A tabular for booktabs."""
    columns = cells(table)
    del columns["source"], columns["hardware"]
    sides = "".join("l" if name in ("data", "method") else "r" for name in columns)
    rows = [" & ".join(map(_escaped, row)) + r" \\" for row in zip(*columns.values(), strict=True)]
    head = " & ".join(map(_escaped, columns)) + r" \\"
    lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: "\\" + c for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)
