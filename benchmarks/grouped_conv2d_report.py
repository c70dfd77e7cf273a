"""Table, summary and figure of grouped_conv2d.py; `python grouped_conv2d_report.py FILE.csv` makes the last two.

Columns: each way in milliseconds (median, _q1, _q3; `_last`: channels-last memory); ours_best, torch_best, best = the
faster of our formats, of PyTorch's public ones, and of all peers; ratio = best peer / ours_best, above 1 where ours is
faster; ratio_planar, ratio_last = best peer in any format / ours in that one; ratio_torch = torch_best / ours_best;
halved = ours_best / ours_best of the same shape with half as many groups, halved_best = that one's format; flops;
extra_WAY = MiB at the peak beyond what was there and the results (outputs from 8 MiB on), allowed_mib = one packed
weight and one padded group per thread; behind = 1 where ours stayed more than 5 % slower than PyTorch, quartiles apart,
in three more interleaved runs; dearer = 1 where it stayed more than 5 % slower than with half as many groups likewise.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from channel_transform_report import mean
from grouped_conv2d_others import MODULES
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OURS, TORCH = ["ours", "ours_last"], ["torch", "torch_last"]
PEERS = [*TORCH, "torch_packed", *MODULES]
WAYS = [*OURS, *PEERS]
DEARER = 1.05
PAGES_MIB = 4.0  # what resident memory may be off by
COLOURS = {"resnet34": "#0072B2", "resnext": "#D55E00", "pathology": "#009E73"}


def add_figures(table: pd.DataFrame) -> pd.DataFrame:
    """The derived columns."""
    ours, torch, best = (table[ways].min(axis=1) for ways in (OURS, TORCH, PEERS))
    names = {"ours_best": OURS, "torch_best": TORCH, "best": PEERS}
    derived = {column: table[ways].idxmin(axis=1) for column, ways in names.items()}
    derived |= {"ratio": best / ours, "ratio_planar": best / table["ours"], "ratio_last": best / table["ours_last"]}
    derived |= {
        "ratio_torch": torch / ours,
        "gflops": table["flops"] / ours / 1e6,
        "gflops_best": table["flops"] / best / 1e6,
    }
    point = ["mode", "family", "shape", "groups"]
    keyed = pd.DataFrame({"ms": ours, "name": derived["ours_best"]}).set_index(pd.MultiIndex.from_frame(table[point]))
    half = table[point].assign(groups=(table["groups"] // 2).where(table["groups"] % 2 == 0, 0))
    found = keyed.reindex(pd.MultiIndex.from_frame(half))
    return table.assign(**derived, halved=ours / found["ms"].to_numpy(), halved_best=found["name"].to_numpy())


def write(table: pd.DataFrame, facts: dict, base: Path) -> None:
    """NAME.csv and, what it was measured on, NAME.json."""
    table.to_csv(base.with_suffix(".csv"), index=False, float_format="%.6g")
    base.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")


def read(path: Path) -> tuple[pd.DataFrame, dict]:
    return pd.read_csv(path), json.loads(path.with_suffix(".json").read_text())


def goals(table: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """What, goal, measured, verdict."""
    lines = []

    def line(what: str, sign: str, goal: float, value: float, note: str = "") -> None:
        reached = value >= goal if sign == ">=" else value <= goal
        verdict = "not measured" if np.isnan(value) else "reached" if reached else "missed"
        lines.append((what, f"{sign} {goal:g}", f"{value:.3g}{note}", verdict))

    forward, training = (table[table["mode"] == mode] for mode in ("forward", "training"))
    line(
        "forward, best peer, 2 and 4 channels per group",
        ">=",
        3,
        mean(forward[forward["per_group"].isin([2, 4])]["ratio"]),
    )
    line("forward, best peer, 2 groups and more", ">=", 1.3, mean(forward[forward["groups"] > 1]["ratio"]))
    line("forward, best peer, depthwise", ">=", 1, mean(forward[forward["per_group"] == 1]["ratio"]))
    few = training["per_group"] <= 4
    line("training, PyTorch, 4 and fewer channels per group", ">=", 4, mean(training[few]["ratio_torch"]))
    for mode, part in (("forward", forward), ("training", training)):
        behind, dearer = _confirmed(part, "behind"), _confirmed(part, "dearer")
        line(f"{mode}, PyTorch, least", ">=", 0.95, part["ratio_torch"].min(), behind)
        line(f"{mode}, time with 2G groups / with G, greatest", "<=", DEARER, part["halved"].max(), dearer)
    several = table[table["groups"] > 1]
    over = several[["extra_ours", "extra_ours_last"]].max(axis=1) - several["allowed_mib"]
    line("extra memory above what is allowed, MiB", "<=", PAGES_MIB, over.max())
    return lines


def _confirmed(part: pd.DataFrame, column: str) -> str:
    first = (part["ratio_torch"] < 1 / DEARER if column == "behind" else part["halved"] > DEARER).sum()
    again = f", {part[column].sum()} when run again" if column in part else ""
    return f" ({first} of {len(part)} points beyond{again})"


def summary(table: pd.DataFrame, facts: dict) -> str:
    """Markdown: goals, geometric means by channels per group and by family, every point that stayed slower."""
    parts = ["# Grouped 2-d convolution", "\n".join(f"- {fact}: {value}" for fact, value in facts.items())]
    parts.append(
        "PEER / ours, geometric means over layers.\n\n" + _markdown(["goal", "", "measured", ""], goals(table))
    )
    for by, what in ((["per_group"], "channels per group"), (["family", "batch"], "family, batch")):
        columns = ["ratio", "ratio_planar", "ratio_last", "ratio_torch"]
        head = ["mode", *what.split(", "), "layers", "best/ours", "best/ours planar", "best/ours last", "PyTorch/ours"]
        rows = [
            (
                *key,
                len(part),
                *(f"{mean(part[column]):.2f}" for column in columns),
                f"{part['ratio_torch'].min():.2f}",
                *(f"{mean(part[column]):.0f}" for column in ("gflops", "gflops_best")),
            )
            for key, part in table.groupby(["mode", *by])
        ]
        parts.append(_markdown([*head, "least PyTorch/ours", "GFLOP/s", "GFLOP/s of best"], rows))
    head = ["mode", "channels per group", *PEERS]
    rows = [
        (*key, *(f"{mean(part[peer] / part[OURS].min(axis=1)):.2f}" for peer in PEERS))
        for key, part in table.groupby(["mode", "per_group"])
    ]
    parts.append("Each peer / ours\n\n" + _markdown(head, rows))
    rows = [
        (*key, len(part), f"{part['halved'].max():.2f}", int((part["halved"] > DEARER).sum()))
        for key, part in table[table["halved"].notna()].groupby(["mode", "family", "batch"])
    ]
    head = ["mode", "family", "batch", "pairs", "greatest", "above 1.05"]
    parts.append("Time of ours with 2G groups / with G\n\n" + _markdown(head, rows))
    point = ["mode", "family", "shape", "groups"]
    for column, ratio, what in (
        ("behind", "ratio_torch", "More than 5 % slower than PyTorch"),
        ("dearer", "halved", "More than 5 % slower than with half as many groups"),
    ):
        if column in table:
            found = table[table[column] == 1].sort_values(ratio, ascending=column == "behind")
            text = _markdown([*point, ratio], found[[*point, ratio]].round(2).itertuples(index=False, name=None))
            parts.append(f"{what} in three more runs\n\n{text}")
    extra = ["extra_ours", "extra_ours_last", "extra_torch", "extra_torch_last"]
    memory = table[table["extra_ours"].notna()].sort_values("extra_ours", ascending=False).head(12)
    rows = memory[[*point, "allowed_mib", *extra]].round(1).itertuples(index=False, name=None)
    parts.append("Extra memory, MiB, the greatest of ours\n\n" + _markdown([*point, "allowed_mib", *extra], rows))
    return "\n\n".join(parts) + "\n"


def _markdown(head: list[str], rows) -> str:
    rows = list(rows)
    if not rows:
        return "none"
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows))


def plot(table: pd.DataFrame, facts: dict, path: Path) -> None:
    """Left: GFLOP/s of ours, of PyTorch and of the best peer. Right: the best peer's time over ours."""
    modes = list(dict.fromkeys(table["mode"]))
    figure = Figure(figsize=(11, 4 * len(modes)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for line, mode in zip(figure.subplots(len(modes), 2, squeeze=False), modes, strict=True):
        part = table[table["mode"] == mode]
        _speeds(line[0], part)
        _ratios(line[1], part)
        line[0].set_title(f"{mode}: GFLOP/s, geometric mean and range", fontsize=9)
        line[1].set_title(f"{mode}: time of the best peer over ours (above 1: ours is faster)", fontsize=9)
        for ax in line:
            widths = sorted(part["per_group"].unique())
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.set_xticks(widths, widths, fontsize=7)
            ax.set_xlabel("channels per group", fontsize=7)
            ax.tick_params(axis="y", labelsize=7)
            ax.grid(color="0.9", linewidth=0.6)
            ax.legend(fontsize=7, frameon=False)
    note = f"{facts['hardware']}, PyTorch {facts['torch']}, {table['dtype'].iloc[0]}"
    figure.supxlabel(note, fontsize=7, color="0.35")
    figure.savefig(path)


def _speeds(ax, part: pd.DataFrame) -> None:
    torch = part["flops"] / part[TORCH].min(axis=1) / 1e6
    for name, values, colour in (
        ("ours", part["gflops"], "#D55E00"),
        ("best peer", part["gflops_best"], "#0072B2"),
        ("PyTorch", torch, "0.5"),
    ):
        by = values.groupby(part["per_group"])
        ax.plot(by.apply(mean), "o-", color=colour, markersize=3, linewidth=1, label=name)
        ax.fill_between(by.min().index, by.min(), by.max(), color=colour, alpha=0.1, linewidth=0)


def _ratios(ax, part: pd.DataFrame) -> None:
    for (family, batch), points in part.groupby(["family", "batch"]):
        style = {"color": COLOURS[family], "markerfacecolor": "none" if batch > 1 else None}
        ax.plot(points["per_group"], points["ratio"], "o", markersize=3, **style)
    for family in dict.fromkeys(part["family"]):
        ax.plot([], [], "o", color=COLOURS[family], markersize=3, label=f"{family} (hollow: batches)")
    ax.axhline(1, color="0", linewidth=0.8)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    read_table, about = read(file)
    file.with_suffix(".md").write_text(summary(read_table, about))
    plot(read_table, about, file.with_suffix(".png"))
