"""Accuracy over the number of labels, a line for every way to choose them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .plots import plain, style

COLUMNS = 4  # of panels
Curve = tuple[Sequence[float], Sequence[float]]  # numbers of labels, scores as fractions


def plot_learning_curves(panels: Mapping[str, Mapping[str, list[Curve]]], path: Path) -> None:
    """Means over seeds and bands of ± 1 unbiased deviation.

    Args:
        panels: by title of a panel, and by name of a rule in it, the curves of its seeds, over the same labels.
        path: of the picture.
    """
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), dpi=150 if rows == 1 else 100, layout="constrained")
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(name for rules in panels.values() for name in rules))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[len(panels) :]:
        unused.remove()
    for ax, (title, rules) in zip(axes[: len(panels)], panels.items(), strict=True):
        for name, curves in rules.items():
            colour, _, dash = style(names.index(name))
            scores = 100 * np.array([curve[1] for curve in curves])
            labels, mean = curves[0][0], scores.mean(0)
            ax.plot(labels, mean, color=colour, linestyle=dash, linewidth=1.4, label=name.replace("_", " "))
            if len(curves) > 1:
                deviation = scores.std(0, ddof=1)
                ax.fill_between(labels, mean - deviation, mean + deviation, color=colour, alpha=0.12, linewidth=0)
        ax.set(xlabel="labels", ylabel="test accuracy (%)")
        ax.set_title(title, fontsize=10)
        plain(ax)
    ax.legend(fontsize=8, frameon=False)
    figure.savefig(path)
