"""The picture of design_space.py: test accuracy against each cost, the Pareto front as a line."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = {"2": "#0072B2", "4": "#D55E00", "8": "#009E73", "1": "#000000"}  # by groups
MARKERS = {"standard": "X", "dense": "o", "grouped": "s", "0": "v", "0.25": "D", "0.5": "^", "0.75": "P"}
WORDS = {"0": "shuffled (overlap 0)", "0.25": "overlap 0.25", "0.5": "overlap 0.5", "0.75": "overlap 0.75"}
AXES = {
    "macs": ("million multiply-adds", 1e6),
    "parameters": ("thousand parameters", 1e3),
    "ms_1": ("ms, batch 1", 1),
    "ms_32": ("ms, batch 32", 1),
}


def draw(rows: list[dict], path: Path) -> None:
    costs = [cost for cost in AXES if cost in rows[0]]
    figure = Figure(figsize=(3.6 * len(costs), 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(costs), sharey=True)
    for ax, cost in zip(panels, costs, strict=True):
        title, unit = AXES[cost]
        front = sorted((row[cost] / unit, row["test"]) for row in rows if row[f"front_{cost}"])
        ax.plot(*zip(*front, strict=True), color="0.75", linewidth=4, zorder=0, solid_capstyle="round")
        for row in rows:
            marker, colour = MARKERS[kind(row)], COLOURS[str(row["groups"])]
            style = {"color": colour, "marker": marker, "markersize": 6, "capsize": 2, "linewidth": 0.8}
            ax.errorbar(row[cost] / unit, row["test"], row["test_std"], **style)
        ax.set(xscale="log", xlabel=title)
        ax.grid(color="0.92", linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy (%), ± 1 deviation")
    handles = [
        panels[0].plot([], [], linestyle="", marker=MARKERS[name], color="0.3", label=WORDS.get(name, name))[0]
        for name in sorted({kind(row) for row in rows}, key=list(MARKERS).index)
    ]
    for groups in sorted({str(row["groups"]) for row in rows} - {"1"}, key=int):
        handles += panels[0].plot([], [], color=COLOURS[groups], linewidth=4, label=f"{groups} groups")
    handles += panels[0].plot([], [], color="0.75", linewidth=4, label="Pareto front")
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    figure.savefig(path)


def kind(row: dict) -> str:
    name = row["setting"].split(", ")[-1].split()[0]
    return f"{float(row['overlap']):g}" if name == "sliding" else name
