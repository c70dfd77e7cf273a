"""Meshes with a value at every vertex, as a picture: seen from one side, lit from the front."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

Mesh = tuple[np.ndarray, np.ndarray, Sequence[np.ndarray]]  # pos [N, 3], face [3, F], values [N] for each column


def plot_meshes(rows: Sequence[Mesh], titles: Sequence[str], classes: int, path: Path) -> None:
    """One row for each mesh, one column for each kind of value: floating ones by a scale of their own, whole ones as
    one of ``classes`` colours, the same in all columns but the last, which is 1 where something is wrong."""
    figure = Figure(figsize=(2.6 * len(titles), 2.5 * len(rows) + 0.3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (pos, face, values) in zip(panels, rows, strict=True):
        for number, (ax, value) in enumerate(zip(line, values, strict=True)):
            _draw(ax, pos, face, _colours(value, classes, last=number == len(values) - 1))
    for ax, title in zip(panels[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
    figure.savefig(path)


def _colours(value: np.ndarray, classes: int, last: bool) -> np.ndarray:
    """[N, 3]"""
    if last:
        return np.where(value[:, None] > 0, (0.84, 0.37, 0.0), (0.85, 0.85, 0.85))
    if np.issubdtype(value.dtype, np.floating):
        low, high = value.min(), value.max()
        return colormaps["viridis"]((value - low) / (high - low or 1))[:, :3]
    # Classes may be sectors of a circle: a scale without ends.
    return colormaps["twilight_shifted"]((value + 0.5) / classes)[:, :3]


def _draw(ax: Axes, pos: np.ndarray, face: np.ndarray, colours: np.ndarray) -> None:
    """Orthographic, along the shortest axis of the mesh; hidden triangles left out, far ones drawn first."""
    centred = pos - pos.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes[2] *= np.sign(np.linalg.det(axes))
    corners = (centred @ axes.T)[face.T]  # [F, 3, 3]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normal[:, 2] / np.linalg.norm(normal, axis=1)
    order = corners[:, :, 2].mean(1).argsort()
    order = order[facing[order] > 0]
    light = 0.45 + 0.55 * facing[order]
    shown = colours[face.T[order]].mean(1) * light[:, None]
    ax.add_collection(PolyCollection(corners[order, :, :2], facecolors=shown, edgecolors=shown, linewidths=0.2))
    ax.autoscale_view()
    ax.set_aspect("equal")
    ax.set_axis_off()
