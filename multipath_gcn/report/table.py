"""Statistics over seeds. Scores are in percent from here on."""

from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from .runs import Run

# A config fixes the metric; should it differ all the same, the rows stay apart. It fixes parameters but for pruning,
# which leaves another number for every seed.
KEY = ["data", "model", "label", "config", "metric"]


def per_seed(runs: Sequence[Run]) -> pd.DataFrame:
    """One line per run."""
    names = [field.name for field in fields(Run) if field.name not in ("path", "curve", "pruning")]
    frame = pd.DataFrame([{name: getattr(run, name) for name in names} for run in runs])
    scores = ["valid", "test", "paper_test"]
    frame[scores] = 100.0 * frame[scores].astype(float)
    return frame


def summarise(runs: Sequence[Run], protocol: str = "ogb") -> pd.DataFrame:
    """One row per configuration, by data and then by falling mean test score.

    Parameters are the median. Deviations are unbiased (n - 1), hence NaN for a single seed. `protocol="both"` adds the
    papers' own protocol.
    """
    if protocol not in ("ogb", "both"):
        raise ValueError(f"protocol ({protocol!r}) must be 'ogb' or 'both'")
    if not runs:
        raise ValueError("runs (0) must hold at least one run")
    columns = {
        "parameters": ("parameters", "median"),
        "seeds": ("seed", "size"),
        "test_mean": ("test", "mean"),
        "test_std": ("test", "std"),
        "valid_mean": ("valid", "mean"),
        "valid_std": ("valid", "std"),
        "best_epoch": ("best_epoch", "median"),
        "seconds": ("seconds", "median"),
        "seconds_per_epoch": ("seconds_per_epoch", "median"),
        "peak_mib": ("peak_mib", "max"),
        "hardware": ("hardware", lambda names: " / ".join(sorted(set(names)))),
    }
    if protocol == "both":
        columns |= {
            "paper_test_mean": ("paper_test", "mean"),
            "paper_test_std": ("paper_test", "std"),
            "paper_epoch": ("paper_epoch", "median"),
        }
    table = per_seed(runs).groupby(KEY).agg(**columns).reset_index().astype({"parameters": "int64"})
    # The sort is stable: ties keep the order of the key.
    return table.sort_values("test_mean", ascending=False, kind="stable").sort_values(
        "data", kind="stable", ignore_index=True
    )


def names(table: pd.DataFrame) -> list[str]:
    """The shortest name of each row that is unique on its data set: model, label, config as needed."""
    short = table["model"]
    if table["label"].nunique() > 1:
        short = short.where(table["label"] == "", short + " " + table["label"])
    clash = short.groupby([table["data"], table["metric"], short]).transform("size") > 1
    return short.where(~clash, short + " " + table["config"]).tolist()
