"""What pruning did to the scores of runs: a table over seeds, and score over what is left."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .plots import metric_name, plain, style
from .runs import Run
from .table import KEY
from .text import escape

PARTS = {"macs": "multiply-adds left", "parameters": "parameters left"}
SCORES = ("before", "straight", "reestimated", "trained")


def pruning_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per configuration of the runs that pruned: means over seeds, and unbiased deviations of scores (%).

    Columns: data, model, label, config, metric, seeds; ``macs`` and ``parameters``, parts of those before (of a network
    that was pruned twice, before the second time); ``ms_before`` and ``ms``, of a calibration batch; and ``NAME_mean``,
    ``NAME_std`` of the test score before pruning, straight after it, after norms counted again (NaN where they did
    not), and after training.
    """
    frame = pd.DataFrame(
        [
            {name: getattr(run, name) for name in (*KEY, "seed")}
            | {name: 100 * score for name, score in run.pruning.scores.items()}
            | {"trained": 100 * run.test}
            | {"macs": run.pruning.macs, "parameters": run.pruning.parameters}
            | {"ms_before": run.pruning.ms_before, "ms": run.pruning.ms}
            for run in runs
            if run.pruning is not None
        ]
    )
    if frame.empty:
        return frame
    columns = {"seeds": ("seed", "size")}
    columns |= {name: (name, "mean") for name in ("macs", "parameters", "ms_before", "ms")}
    columns |= {f"{name}_{kind}": (name, kind) for name in SCORES if name in frame for kind in ("mean", "std")}
    return frame.groupby(KEY).agg(**columns).reset_index().sort_values(["data", "model", "macs"], ignore_index=True)


def pruning_markdown(table: pd.DataFrame) -> str:
    """The table as a section of a report."""
    scores = [name for name in SCORES if f"{name}_mean" in table]
    heads = {"reestimated": "norms counted again"}
    head = ["data", "model", "label", "config", "seeds", "multiply-adds", "parameters", "ms, before", "ms"]
    head += [f"{heads.get(name, name)} %" for name in scores]
    lines = ["## Pruning", "", f"| {' | '.join(head)} |", "|---" * 4 + "|---:" * (len(head) - 4) + "|"]
    for row in table.to_dict("records"):
        cells = [row["data"], row["model"], row["label"], row["config"], f"{row['seeds']}"]
        cells += [f"{100 * row[name]:.1f} %" for name in ("macs", "parameters")]
        cells += [f"{row[name]:.3g}" for name in ("ms_before", "ms")]
        for name in scores:
            mean, std = row[f"{name}_mean"], row[f"{name}_std"]
            cells.append("" if pd.isna(mean) else f"{mean:.2f}" + ("" if pd.isna(std) else f" ± {std:.2f}"))
        lines.append(f"| {' | '.join(map(escape, cells))} |")
    lines += ["", "Multiply-adds and parameters: parts of those before. Milliseconds: of a calibration batch."]
    return "\n".join(lines) + "\n"


def plot_pruning(table: pd.DataFrame, folder: Path) -> list[str]:
    """Draws :func:`pruning_table`, a picture for each data set and a line for each model and label.

    Returns:
        The names of the pictures: scores after training over multiply-adds and milliseconds.
    """
    named = {"trained_mean": "score", "trained_std": "score_std"}
    points = table.rename(columns=named).assign(method=(table["model"] + " " + table["label"]).str.strip())
    names = []
    for (data, metric), rows in points.groupby(["data", "metric"], sort=False):
        names.append(f"pruning-{re.sub(r'[^A-Za-z0-9]+', '-', data)}-{re.sub(r'[^A-Za-z0-9]+', '-', metric)}.png")
        score = f"test {metric_name(metric)} (%), {data}"
        plot_trade_off(rows[["method", "macs", "ms", *named.values()]], folder / names[-1], score)
    return names


def plot_trade_off(points: pd.DataFrame, path: str | Path, score: str = "test accuracy (%)") -> None:
    """Score over what is left: a panel for every cost.

    Args:
        points: columns ``method`` and ``score`` (%), for error bars ``score_std``, and costs: ``macs`` and
            ``parameters`` (parts of those before), ``ms`` or ``ms_N`` (at batch N). A line joins those of a method.
        path: of the picture.
        score: its name on the axis.

    Raises:
        ValueError: for no points, or none of the costs.
    """
    costs = [name for name in points if name in PARTS or re.fullmatch(r"ms(_\d+)?", name)]
    if not costs or points.empty:
        raise ValueError(f"points must hold rows and one of {[*PARTS, 'ms']}, got {len(points)} of {list(points)}")
    figure = Figure(figsize=(4.0 * len(costs), 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, cost in zip(figure.subplots(1, len(costs), squeeze=False).flat, costs, strict=True):
        for i, (method, rows) in enumerate(points.groupby("method", sort=False)):
            rows = rows.sort_values(cost)
            deviation = rows["score_std"] if "score_std" in rows and rows["score_std"].notna().any() else None
            colour, marker, dash = style(i)
            look = {"color": colour, "marker": marker, "linestyle": dash, "markersize": 4, "linewidth": 1.1}
            axes.errorbar(rows[cost], rows["score"], deviation, **look, capsize=2, label=method)
        plain(axes)
        axes.set(xlabel=PARTS.get(cost) or _milliseconds(cost), ylabel=score)
        if cost in PARTS:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=7, frameon=False)
    figure.savefig(path)


def _milliseconds(name: str) -> str:
    batch = name.removeprefix("ms").removeprefix("_")
    return f"milliseconds, batch {batch}" if batch else "milliseconds"
