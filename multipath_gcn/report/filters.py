"""What the filters of a first layer look like."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_filters(weight: np.ndarray, path: Path, count: int = 64) -> None:
    """The filters of largest norm side by side: grey is 0, each is scaled by its largest weight.

    Args:
        weight: (O, C, H, W), with C 1 (grey) or 3 (colours).
        path: of the picture.
        count: how many at most.

    Raises:
        ValueError: for another number of channels, or no filter with a weight that is not 0.
    """
    if weight.ndim != 4 or weight.shape[1] not in (1, 3):
        raise ValueError(f"weight must be (O, 1 or 3, H, W), got {list(weight.shape)}")
    norms = np.sqrt(np.square(weight).sum((1, 2, 3)))
    order = [o for o in np.argsort(-norms, kind="stable")[:count] if norms[o] > 0]
    if not order:
        raise ValueError("weight must have a filter that is not 0, got none")
    columns = int(np.ceil(np.sqrt(len(order))))
    rows = -(-len(order) // columns)
    figure = Figure(figsize=(columns, rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, o in zip(axes, order, strict=False):
        filter_ = weight[o] / (2 * np.abs(weight[o]).max()) + 0.5
        ax.imshow(filter_.transpose(1, 2, 0).squeeze(), vmin=0, vmax=1, cmap="gray", interpolation="nearest")
    figure.savefig(path, dpi=100)
