"""The picture of one run: its scores and its loss over the epochs."""

import csv
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLUMNS = ("epoch", "loss", "lr", "train", "valid", "test", "valid_loss", "seconds")


def plot_run(directory: Path) -> None:
    """Draws ``history.csv`` of a run directory into ``curve.png``: scores, losses, and a plot of each measure."""
    with (directory / "history.csv").open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    epochs = [row["epoch"] for row in rows]
    measures = [name for name in rows[0] if name not in COLUMNS]
    plots = 2 + len(measures)
    width = 3.75 * plots
    figure = Figure(figsize=(width, 3), dpi=100)
    figure.subplots_adjust(left=0.65 / width, right=1 - 0.15 / width, bottom=0.17, top=0.95, wspace=0.3)
    FigureCanvasAgg(figure)  # laid out by hand: the automatic way takes longer than all the drawing
    scores, losses, *others = figure.subplots(1, plots)
    for name, colour in (("train", "#999999"), ("valid", "#0072B2"), ("test", "#D55E00")):
        scores.plot(epochs, [100 * row[name] for row in rows], color=colour, linewidth=1.2, label=name)
    for name, colour in (("loss", "#999999"), ("valid_loss", "#0072B2")):
        losses.plot(epochs, [row[name] for row in rows], color=colour, linewidth=1.2, label=name.replace("_", " "))
    for name, axes in zip(measures, others, strict=True):
        axes.plot(epochs, [row[name] for row in rows], color="#009E73", linewidth=1.2)
    for axes, title in ((scores, "score (%)"), (losses, "loss"), *zip(others, measures, strict=True)):
        axes.set(xlabel="epoch", ylabel=title)
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (scores, losses):
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(directory / "curve.png")
