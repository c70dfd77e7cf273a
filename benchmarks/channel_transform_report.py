"""Table, summary and figure of channel_transform.py; `python channel_transform_report.py FILE.csv` makes the last two.

Columns: ours and each peer in milliseconds (median, _q1, _q3, number of rounds); ratio_PEER = PEER / ours, above 1
where ours is faster; best = the fastest peer, best_ratio = its ratio; flops; bytes = x, w and y moved once per
operator (three operators in a training step); efficiency = max(flops / peak, bytes / bandwidth) / ours; gain = dense /
ours; possible_gain = min(groups, dense * bandwidth / bytes); overlap_cost = ours / ours at overlap 0 of the same
groups; extra_mib = memory at the peak beyond x, w, the output and both gradients (outputs from 32 MiB on); float32 =
ours in float32 where the type is a half one; slower = 1 where ours stayed more than 5 % behind the best peer,
quartiles apart, in three more interleaved runs; overlap_slower = 1 where overlap_cost stayed above 1.15 likewise.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PEERS = ("dense", "grouped", "gather", "strided", "scatter")
COLOURS = dict(zip(PEERS, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"), strict=True))
POINT = ["shape", "groups", "pass"]
# pass: (efficiency to reach, to aim at, share of the possible gain over dense)
GOALS = {"forward": (0.6, 0.8, 0.7), "training": (0.5, 0.7, 0.6)}
OVERLAP_COST, SLOWER, HALF_GAIN = 1.15, 1.05, 1.6
PAGES_MIB = 4.0  # what resident memory may be off by


def add_figures(table: pd.DataFrame, peak: float, bandwidth: float) -> pd.DataFrame:
    """The derived columns; times are in milliseconds, peak and bandwidth per second."""
    ratios = pd.DataFrame({f"ratio_{peer}": table[peer] / table["ours"] for peer in PEERS}).astype(float)
    bound = 1e3 * np.maximum(table["flops"] / peak, table["bytes"] / bandwidth)
    room = table["dense"] * bandwidth / table["bytes"] / 1e3
    base = table[table["overlap"] == 0].set_index(POINT)["ours"]
    if base.empty:
        at_zero = np.full(len(table), np.nan)
    else:
        at_zero = base.reindex(pd.MultiIndex.from_frame(table[POINT])).to_numpy()
    derived = {
        **ratios,
        "best": ratios.idxmin(axis=1).str.removeprefix("ratio_"),
        "best_ratio": ratios.min(axis=1),
        "compute_bound": table["flops"] / peak > table["bytes"] / bandwidth,
        "efficiency": bound / table["ours"],
        "gain": table["dense"] / table["ours"],
        "possible_gain": np.minimum(table["groups"], room),
        "overlap_cost": table["ours"] / at_zero,
    }
    return table.assign(**derived)


def write_csv(table: pd.DataFrame, facts: dict, path: Path) -> None:
    """Facts on lines that start with #, then the table: pandas.read_csv(path, comment="#")."""
    lines = "".join(f"# {name}: {value}\n" for name, value in facts.items())
    path.write_text(lines + table.to_csv(index=False, float_format="%.6g"))


def read_csv(path: Path) -> tuple[pd.DataFrame, dict]:
    facts = [line[2:].split(": ", 1) for line in path.read_text().splitlines() if line.startswith("# ")]
    return pd.read_csv(path, comment="#"), dict(facts)


def mean(values: pd.Series) -> float:
    """Geometric mean of what is there."""
    values = values.dropna()
    return float(np.exp(np.log(values).mean())) if len(values) else float("nan")


def goals(table: pd.DataFrame, facts: dict) -> list[tuple[str, str, str, str]]:
    """What, goal, measured, verdict."""
    lines = []

    def line(what: str, goal: str, value: float, reached: bool, note: str = "") -> None:
        verdict = "not measured" if np.isnan(value) else "reached" if reached else "missed"
        lines.append((what, goal, f"{value:.3g}{note}", verdict))

    for which, (least, aim, share) in GOALS.items():
        part = table[table["pass"] == which]
        value = mean(part["efficiency"])
        line(f"efficiency, {which}", f">= {least} (aim {aim})", value, value >= least)
        several = part[part["groups"] > 1]
        value = mean(several["gain"] / several["possible_gain"])
        note = f" (gain {mean(several['gain']):.3g} of {mean(several['possible_gain']):.3g})"
        line(f"share of the possible gain over dense, {which}", f">= {share}", value, value >= share, note)
    for which in GOALS:
        part = table[(table["pass"] == which) & (table["overlap"] > 0)]
        by_setting = part.groupby(["groups", "overlap"])["overlap_cost"].agg(mean)
        value = by_setting.max() if len(by_setting) else float("nan")
        over = part["overlap_cost"] > OVERLAP_COST
        again = f", {part['overlap_slower'].sum():g} when run again" if "overlap_slower" in part else ""
        note = f" (single worst {part['overlap_cost'].max():.3g}; {over.sum()} of {len(part)} points above{again})"
        line(f"cost of overlap, {which}, worst (cg, co)", f"<= {OVERLAP_COST}", value, value <= OVERLAP_COST, note)
    slower = table["slower"] if "slower" in table else pd.Series([np.nan])
    suspects = int((table["best_ratio"] < 1 / SLOWER).sum())
    value = float(slower.sum()) if slower.notna().all() else float("nan")
    line("points more than 5 % slower than the best peer", "0", value, value == 0, f" ({suspects} in the first run)")
    own = table[(table["groups"] > 1) | (table["overlap"] > 0)]  # dense windows call the stock operator
    value = (own["extra_mib"] - _allowed_mib(own, int(facts["threads"]))).max()
    note = f" (largest extra {own['extra_mib'].max():.3g} MiB)"
    line("extra memory above what is allowed, MiB", f"<= 0 (± {PAGES_MIB:g})", value, value <= PAGES_MIB, note)
    if table["float32"].notna().any():
        part = table[table["compute_bound"]]
        value = mean(part["float32"] / part["ours"])
        line("gain over its own float32, where compute-bound", f">= {HALF_GAIN}", value, value >= HALF_GAIN)
    return lines


def _allowed_mib(table: pd.DataFrame, threads: int) -> pd.Series:
    """One packed weight per thread (float32, padded to two vectors of channels) and 5 % of the output."""
    width = np.minimum(table["channels"] // table["groups"] + 32, 2 * table["channels"])
    output = table["batch"] * table["filters"] * table["size"].clip(lower=1) ** 2
    itemsize = table["dtype"].map({"float32": 4, "float64": 8}).fillna(2)
    return (threads * table["filters"] * width * 4 + 0.05 * output * itemsize) / 2**20


def summary(table: pd.DataFrame, facts: dict) -> str:
    """Markdown: goals one by one, geometric means by groups and by batch, every point that stayed slower."""
    parts = ["# Channel transforms against stock PyTorch", "\n".join(f"- {k}: {v}" for k, v in facts.items())]
    parts.append("Geometric means over the shapes.\n\n" + _markdown(["goal", "", "measured", ""], goals(table, facts)))
    absent = ", ".join(f"{peer} {table[peer].isna().sum()}" for peer in ("gather", "strided"))
    parts.append(f"Left out of {len(table)} points because their windows take too much memory: {absent}.")
    for by, what in (("groups", "groups"), ("overlap", "overlap"), ("batch", "images or rows")):
        columns = ["efficiency", *(f"ratio_{peer}" for peer in PEERS), "best_ratio", "overlap_cost"]
        rows = [
            (which, f"{value:g}", *(f"{mean(part[column]):.2f}" for column in columns))
            for (which, value), part in table.groupby(["pass", by])
        ]
        parts.append(f"By {what} (PEER / ours)\n\n" + _markdown(["pass", what, *columns], rows))
    point = ["shape", "groups", "overlap", "pass"]
    if "slower" in table:
        found = _markdown_table(table[table["slower"] == 1].sort_values("best_ratio"), [*point, "best", "best_ratio"])
        parts.append(f"More than 5 % slower than the best peer in three more runs, quartiles apart\n\n{found}")
        over = table[table["overlap_slower"] == 1].sort_values("overlap_cost", ascending=False)
        found = _markdown_table(over, [*point, "overlap_cost"])
        parts.append(f"Overlap costs more than {OVERLAP_COST} times overlap 0, by the same rule\n\n{found}")
    return "\n\n".join(parts) + "\n"


def _markdown(head: list[str], rows: list[tuple]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _markdown_table(table: pd.DataFrame, columns: list[str]) -> str:
    rows = list(table[columns].round(2).itertuples(index=False, name=None))
    return _markdown(columns, rows) if rows else "none"


def plot(table: pd.DataFrame, facts: dict, path: Path) -> None:
    """Left: efficiency of every shape and number of groups. Right: every peer's time over ours."""
    shapes, groups = list(dict.fromkeys(table["shape"])), sorted(table["groups"].unique())
    figure = Figure(figsize=(13, 6 if len(shapes) < 12 else 8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    passes = list(dict.fromkeys(table["pass"]))
    for line, which in zip(figure.subplots(len(passes), 2, squeeze=False, sharex="col"), passes, strict=True):
        part = table[table["pass"] == which]
        _efficiencies(line[0], part, shapes, groups, GOALS[which])
        _ratios(line[1], part, groups)
        line[0].set_title(f"{which}: roofline efficiency, median and range over overlaps", fontsize=9)
        line[1].set_title(f"{which}: time of each peer over ours (above 1: ours is faster)", fontsize=9)
    peak, bandwidth = facts.get("peak GFLOP/s", "?"), facts.get("bandwidth GB/s", "?")
    note = f"{facts['hardware']}, PyTorch {facts['torch']}, {table['dtype'].iloc[0]}; {peak} GFLOP/s, {bandwidth} GB/s"
    figure.supxlabel(note, fontsize=7, color="0.35")
    figure.savefig(path)


def _efficiencies(ax, part: pd.DataFrame, shapes: list[str], groups: list[int], goal: tuple) -> None:
    for place, cg in enumerate(groups):
        found = part[part["groups"] == cg].groupby("shape")["efficiency"].agg(["median", "min", "max"]).reindex(shapes)
        x = np.arange(len(shapes)) + 0.14 * (place - (len(groups) - 1) / 2)
        colour = f"{0.75 - 0.75 * place / max(1, len(groups) - 1):.2f}"
        ax.vlines(x, found["min"], found["max"], color=colour, linewidth=1)
        ax.plot(x, found["median"], "o", color=colour, markersize=2.5, label=f"cg {cg}")
    for value, style in zip(goal[:2], ("-", ":"), strict=True):
        ax.axhline(value, color="#D55E00", linewidth=0.8, linestyle=style)
    ax.set_xticks(range(len(shapes)), shapes, rotation=90, fontsize=6)
    ax.set_ylim(0, 1.2 * max(1.0, part["efficiency"].max()))
    ax.tick_params(axis="y", labelsize=7)
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.legend(fontsize=6, frameon=False, ncols=len(groups), loc="upper right")


def _ratios(ax, part: pd.DataFrame, groups: list[int]) -> None:
    generator = np.random.default_rng(0)
    for place, peer in enumerate(PEERS):
        for slot, cg in enumerate(groups):
            found = part.loc[part["groups"] == cg, f"ratio_{peer}"].dropna()
            x = slot + 0.16 * (place - 2) + generator.uniform(-0.05, 0.05, len(found))
            ax.plot(x, found, ".", color=COLOURS[peer], markersize=2.5, label=peer if slot == len(groups) - 1 else None)
    ax.axhline(1, color="0", linewidth=0.8)
    ax.set_yscale("log")
    ax.set_ylim(top=3 * ax.get_ylim()[1])  # room for the legend
    ax.set_xticks(range(len(groups)), [f"cg {cg}" for cg in groups], fontsize=7)
    ax.tick_params(axis="y", labelsize=7)
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.legend(fontsize=6, frameon=False, ncols=5, markerscale=3, loc="upper left")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    read, about = read_csv(file)
    file.with_suffix(".md").write_text(summary(read, about))
    plot(read, about, file.with_suffix(".png"))
