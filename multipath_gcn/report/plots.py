"""Figures with one panel per data set: validation score over epochs, test score over parameters or training time."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from .labels import place_labels
from .runs import Run
from .table import KEY, names

# Okabe and Ito's colours, told apart by every kind of colour vision; marker and dash tell them apart in grey.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
DASHES = ["-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5))]
MOST_CURVES = 10
_SHORT_NAME = 12  # letters of which two columns of a legend have room beside the number of seeds


def curves(table: pd.DataFrame, runs: Sequence[Run], *paths: Path) -> None:
    """Mean validation score and ± 1 deviation over seeds, dotted and without band once a seed has stopped.

    The same figure goes to every path.
    """
    by_row: dict[tuple, list[tuple[float, ...]]] = {}
    for run in runs:
        if run.curve is not None:
            by_row.setdefault(tuple(getattr(run, part) for part in KEY), []).append(run.curve)
    note = "Band: ± 1 deviation over seeds. Dotted: some seeds have stopped, mean of the others."
    columns = 2 if max(map(len, names(table))) <= _SHORT_NAME else 1
    figure, panels = _panels(table, note, legend_columns=columns)
    for ax, rows in panels:
        found = [(row, by_row.get(tuple(getattr(row, part) for part in KEY))) for row in rows.itertuples()]
        found = [(row, curves) for row, curves in found if curves][:MOST_CURVES]
        spans = [_draw_curve(ax, row, curves, min(0.18, 0.9 / len(found))) for row, curves in found]
        ax.set(xlabel="epoch", ylabel=f"validation {metric_name(rows['metric'].iloc[0])} (%)")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if not found:
            ax.text(0.5, 0.5, "no readable history", transform=ax.transAxes, ha="center", va="center", color="0.4")
            continue
        low, high = min(low for low, _ in spans), max(high for _, high in spans)
        margin = 0.06 * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
        hidden = len(rows) - len(found)
        title = f"{hidden} of {len(rows)} rows without a curve here" if hidden else None
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": columns}
        ax.legend(**below, fontsize=8, frameon=False, title=title, title_fontsize=8, handlelength=2.8)
    for path in paths:
        figure.savefig(path)


def _draw_curve(ax: Axes, row, curves: list[tuple[float, ...]], alpha: float) -> tuple[float, float]:
    """Returns the lowest and highest value that must be in sight."""
    common, longest = min(map(len, curves)), max(map(len, curves))
    epochs = np.arange(1, longest + 1)
    mean = np.array([100 * np.mean([c[e] for c in curves if e < len(c)]) for e in range(longest)])
    deviation = np.zeros(longest)
    if len(curves) > 1:
        deviation[:common] = 100 * np.std([c[:common] for c in curves], axis=0, ddof=1)
    low, high = mean - deviation, mean + deviation

    colour, _, dash = row.style
    label = f"{row.name} ({len(curves)} seed{'s' * (len(curves) > 1)})"
    marker = "o" if common == 1 else None
    ax.plot(epochs[:common], mean[:common], color=colour, linestyle=dash, marker=marker, linewidth=1.4, label=label)
    ax.plot(epochs[common - 1 :], mean[common - 1 :], color=colour, linestyle=":", linewidth=1.2)
    ax.fill_between(epochs[:common], low[:common], high[:common], color=colour, alpha=alpha, linewidth=0)
    # The steep first tenth of the epochs may leave the panel: it would flatten the differences that matter.
    return low[longest // 10 :].min(), high.max()


def parameters(table: pd.DataFrame, *paths: Path) -> None:
    """Test score at the best validation epoch over parameters, ± 1 deviation over seeds."""
    _scores(table, "parameters", "parameters", *paths)


def seconds(table: pd.DataFrame, *paths: Path) -> None:
    """The same over the seconds of a whole training, evaluation included: the median over seeds."""
    _scores(table, "seconds", "seconds of training", *paths)


def _scores(table: pd.DataFrame, by: str, title: str, *paths: Path) -> None:
    note = "Error bars: ± 1 deviation over seeds. Models of equal size stand side by side."
    figure, panels = _panels(table, note)
    points = []
    for ax, rows in panels:
        shifts = _side_by_side(rows[by])
        deviations = rows["test_std"].fillna(0.0)
        for row, shift in zip(rows.itertuples(), shifts, strict=True):
            colour, marker, _ = row.style
            move = ax.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
            deviation = None if math.isnan(row.test_std) else row.test_std
            style = {"color": colour, "marker": marker, "markersize": 6, "capsize": 2.5, "linewidth": 1.2}
            ax.errorbar(getattr(row, by), row.test_mean, deviation, transform=move, **style)
        low, high = rows["test_mean"] - deviations, rows["test_mean"] + deviations
        margin = 0.15 * (high.max() - low.min()) or 1.0
        ax.set_ylim(low.min() - margin, high.max() + margin)
        _axis(ax, rows[by].min(), rows[by].max())
        ax.set(xlabel=title, ylabel=f"test {metric_name(rows['metric'].iloc[0])} (%)")
        points.append(list(zip(rows[by], rows["test_mean"], deviations, shifts, strict=True)))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for (ax, rows), places in zip(panels, points, strict=True):
        place_labels(ax, places, rows["name"].tolist())
    for path in paths:
        figure.savefig(path)


def _axis(ax: Axes, low: float, high: float) -> None:
    if low > 0 and high > 5 * low:
        room = (high / low) ** 0.25
        ax.set_xscale("log")
        ax.set_xlim(low / room, high * room)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        room = max(0.25 * (high - low), 0.15 * high) or 1.0
        ax.set_xlim(low - room, high + room)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _side_by_side(counts: Sequence[int], step: float = 10.0) -> list[float]:
    """Shifts in points that part models which differ by less than 1 %."""
    order = sorted(range(len(counts)), key=lambda i: counts.iloc[i])
    clusters: list[list[int]] = []
    for index in order:
        if clusters and counts.iloc[index] <= 1.01 * counts.iloc[clusters[-1][0]]:
            clusters[-1].append(index)
        else:
            clusters.append([index])
    place = {i: (k - (len(c) - 1) / 2) * step for c in clusters for k, i in enumerate(sorted(c))}
    return [place[index] for index in range(len(counts))]


def _panels(table: pd.DataFrame, note: str, legend_columns: int = 0) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    table = table.assign(name=names(table))
    order = list(dict.fromkeys(table["name"]))
    table["style"] = [style(order.index(name)) for name in table["name"]]
    groups = [rows for _, rows in table.groupby(["data", "metric"], sort=False)]
    most = max(map(len, groups))
    columns = min(3 if most <= 6 else 2, len(groups))
    lines = math.ceil(len(groups) / columns)
    width = 4.2 if most <= 6 else 5.6
    height = 3.3 + (0.2 * min(most, MOST_CURVES) / legend_columns if legend_columns else 0.15 * max(0, most - 6))
    figure = Figure(figsize=(max(4.8, width * columns), height * lines + 0.2), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for ax in axes[len(groups) :]:
        ax.remove()
    panels = list(zip(axes[: len(groups)], groups, strict=True))
    for ax, rows in panels:
        ax.set_title(rows["data"].iloc[0], fontsize=10)
        plain(ax)
    figure.supxlabel(note, fontsize=7, color="0.35")
    return figure, panels


def plain(ax: Axes) -> None:
    """The style of every panel: a light grid, no box."""
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def style(index: int) -> tuple:
    """Colour, marker and dash of the line of that number."""
    return COLOURS[index % 7], MARKERS[index % 7], DASHES[index // 7 % 3]


def metric_name(name: str) -> str:
    return {"acc": "accuracy", "rocauc": "ROC-AUC"}.get(name, name)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:g}"
