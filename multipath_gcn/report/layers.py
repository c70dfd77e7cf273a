"""What pruning did to the layers of a network: a table and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .plots import COLOURS, plain


def layer_table(layers: Sequence[Mapping[str, Any]]) -> str:
    """Layers as Markdown: ``found.layers`` of :func:`~multipath_gcn.prune.compress`, or those of ``pruning.json``.

    The last row adds up what is listed, a layer that is called twice once but for its multiply-adds. Norms, parameters
    of no layer, and multiply-adds outside layers, such as those of a propagation, are not in it.
    """
    lines = [
        "| layer | | channels | of | parameters | of | multiply-adds | of | left of these |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    counts = [
        [layer[f"{what}_{when}"] for what in ("channels", "parameters", "macs") for when in ("after", "before")]
        for layer in layers
    ]
    for layer, row in zip(layers, counts, strict=True):
        lines.append(f"| {layer['name']} | {layer['kind']} | {_cells(row)} |")
    if counts:
        once = list({layer["name"]: row for layer, row in zip(layers, counts, strict=True)}.values())
        sums = [sum(row[i] for row in (once if i < 4 else counts)) for i in range(6)]
        lines.append(f"| all | | {_cells(sums)} |")
    return "\n".join(lines) + "\n"


def _cells(row: Sequence[int]) -> str:
    left = f"{100 * row[4] / row[5]:.1f} %" if row[5] else ""
    return " | ".join([*(f"{count:,}" for count in row), left])


def plot_channels(layers: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """A bar for every layer, in the order of their calls: channels that stayed, before those that were there."""
    figure = Figure(figsize=(max(5.0, 0.24 * len(layers) + 1.5), 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    at = range(len(layers))
    axes.bar(at, [layer["channels_before"] for layer in layers], color="0.88", label="before")
    axes.bar(at, [layer["channels_after"] for layer in layers], color=COLOURS[0], label="left")
    axes.set_xticks(at, [layer["name"] for layer in layers], rotation=90, fontsize=6)
    axes.set(ylabel="output channels", xlim=(-0.7, len(layers) - 0.3))
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    plain(axes)
    figure.savefig(path)
