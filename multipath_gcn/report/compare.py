"""Paired differences between models: the same seed on both sides, so what the seed contributes cancels."""

import math
from collections.abc import Sequence

import pandas as pd

from .runs import Run
from .table import KEY, per_seed


def paired_difference(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    r"""Mean of :math:`d_i = a_i - b_i` and its Student t interval :math:`\bar d \pm t_{n-1} s_d / \sqrt n`.

    `a[i]` and `b[i]` belong to the same seed. One pair has a difference but no interval: its ends are NaN.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"a and b must hold the same seeds, at least one, got {len(a)} and {len(b)} values")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence ({confidence}) must lie between 0 and 1")
    differences = [float(x) - float(y) for x, y in zip(a, b, strict=True)]
    if not all(map(math.isfinite, differences)):
        raise ValueError(f"a and b must be finite, got the differences {differences}")
    n = len(differences)
    mean = math.fsum(differences) / n
    if n == 1:
        return mean, math.nan, math.nan
    deviation = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1))
    half = _student_quantile(n - 1, confidence) * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


def _student_quantile(freedom: int, confidence: float) -> float:
    """t with P(|T| <= t) = confidence; SciPy's own, up to 1.15, is right to 3e-11 only."""
    from scipy.special import betaincinv  # here, because only a comparison needs it and it is slow to import

    x = float(betaincinv(freedom / 2, 0.5, 1 - confidence))  # P(|T| > t) = I_x(freedom / 2, 1/2)
    return math.sqrt(freedom * (1 - x) / x)


def add_differences(table: pd.DataFrame, runs: Sequence[Run], baseline: str) -> pd.DataFrame:
    """The table with `<score>_minus_<baseline>_{mean,low,high,seeds}`, NaN in the baseline's own rows.

    The baseline of a row is the one row of that model with its data, metric and label.
    """
    seeds = {key: group.set_index("seed") for key, group in per_seed(runs).groupby(KEY)}
    keys = list(table[KEY].itertuples(index=False))
    pairs = [None if row.model == baseline else (row, _rival(row, keys, baseline)) for row in keys]
    common = [None if pair is None else _common_seeds(*pair, seeds) for pair in pairs]
    table = table.copy()
    for score in ("test", "paper_test"):
        if f"{score}_mean" not in table:
            continue
        values = [
            (math.nan, math.nan, math.nan, 0)
            if pair is None
            else (*paired_difference(*(seeds[tuple(key)].loc[both, score].tolist() for key in pair)), len(both))
            for pair, both in zip(pairs, common, strict=True)
        ]
        columns = [f"{score}_minus_{baseline}_{part}" for part in ("mean", "low", "high", "seeds")]
        table[columns] = pd.DataFrame(values, index=table.index)
    return table


def _rival(row, keys, baseline: str):
    rivals = [k for k in keys if (k.model, k.data, k.metric, k.label) == (baseline, row.data, row.metric, row.label)]
    if len(rivals) == 1:
        return rivals[0]
    where = f"{row.data}, {row.metric}" + (f", {row.label}" if row.label else "")
    if rivals:
        found = "the configs " + ", ".join(sorted(k.config for k in rivals))
    else:
        found = "only " + ", ".join(sorted({k.model for k in keys if k.data == row.data and k.label == row.label}))
    raise ValueError(f"baseline ({baseline}) must be one row for {where}, found {found}")


def _common_seeds(row, rival, seeds) -> list[int]:
    own, other = seeds[tuple(row)].index, seeds[tuple(rival)].index
    both = sorted(set(own) & set(other))
    if not both:
        raise ValueError(
            f"baseline ({rival.model}) must share a seed with {row.model} {row.config} on {row.data}, "
            f"got the seeds {sorted(other)} and {sorted(own)}"
        )
    return both
