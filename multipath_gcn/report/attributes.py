"""What groups of attributes stand on, and what a network says of classes that it has never seen."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LABELLED = 40  # more rows or columns are not named


def plot_attributes(
    change: np.ndarray,
    groups: Sequence[Sequence[int]],
    truth: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    attributes: Sequence[str],
    path: Path,
) -> None:
    """Change of correlation of every two attributes, and beside it attributes of classes, true and predicted.

    Attributes stand in the order of their groups, with lines between groups. Scores are shown as parts of the largest
    in size of their class, since only their proportions count. Where there are few, dots mark the attributes that a
    class has more of than the middle between the least and the most of all: there scores should be high.

    Args:
        change: [A, A], not negative.
        groups: the attributes of each group.
        truth: [K, A], attributes of the classes.
        scores: [K, A], mean scores of their examples.
        classes: K names.
        attributes: A names; none: numbers.
        path: of the picture.
    """
    order = list(chain.from_iterable(groups))
    borders = np.cumsum([len(group) for group in groups])[:-1] - 0.5
    names = [attributes[k] if len(attributes) else str(k) for k in order]
    height = min(9.0, 2.2 + 0.55 * len(classes))
    figure = Figure(figsize=(14, max(4.2, height)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    shown = left.imshow(change[np.ix_(order, order)], cmap="magma_r", vmin=0)
    figure.colorbar(shown, ax=left, shrink=0.8)
    left.set_title("change of correlation,\ntraining to unseen classes", fontsize=10)
    _name(left.set_yticks, names)
    limit = np.abs(truth).max(initial=0) or 1.0
    middle.imshow(truth[:, order], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    middle.set_title("attributes of unseen classes", fontsize=10)
    parts = scores / np.maximum(np.abs(scores).max(axis=1, keepdims=True), 1e-12)
    shown = right.imshow(parts[:, order], cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    figure.colorbar(shown, ax=right, shrink=0.8)
    title = "predicted: mean score of their examples,\nas part of the largest"
    if max(truth.shape) <= LABELLED:
        rows, columns = np.nonzero(truth[:, order] > (truth.max() + truth.min()) / 2)
        right.scatter(columns, rows, s=16, color="black")
        title += "; dots: attributes they have"
    right.set_title(title, fontsize=10)
    for axes in (middle, right):
        _name(axes.set_yticks, classes)
    for axes in (left, middle, right):
        _name(axes.set_xticks, names)
        _draw_borders(axes, borders, both=axes is left)
        axes.set_xlabel("attribute, by group")
        axes.tick_params(length=0, labelsize=9)
    figure.savefig(path)


def _name(set_ticks, names: Sequence[str]) -> None:
    set_ticks(range(len(names)), names) if len(names) <= LABELLED else set_ticks([])


def _draw_borders(axes: Axes, borders: np.ndarray, both: bool) -> None:
    for border in borders:
        axes.axvline(border, color="black", linewidth=1.5)
        if both:
            axes.axhline(border, color="black", linewidth=1.5)
