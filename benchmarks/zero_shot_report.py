"""What groups of attributes and adversaries bring to zero-shot losses, from the runs of zero_shot.sh.

python benchmarks/zero_shot_report.py RUNS

Differences are paired by seed, each seed's score being the mean over the choices of digits; 95 % Student intervals.
"""

import sys
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from timing import heading

from multipath_gcn.report import paired_difference, read_runs

OUT = Path(__file__).parent / "results" / "zero_shot"
WAYS = {"plain": "plain", "groups": "groups alone", "adversaries": "groups and adversaries"}
COLOURS = {"groups": "#0072B2", "adversaries": "#D55E00"}


def main(runs: Path) -> None:
    table = read(runs)
    OUT.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUT / "cpu.csv", index=False, float_format="%.6f")
    text = report(table)
    (OUT / "cpu.md").write_text(text)
    draw(table, OUT / "figure.png")
    print(text)


def read(runs: Path) -> pd.DataFrame:
    found, problems = read_runs([runs])
    if problems:
        raise ValueError(f"RUNS must hold complete runs only, got {problems}")
    rows = []
    for run in found:
        cfg = OmegaConf.load(run.path / "config.yaml")
        task, data = cfg.task, cfg.data
        digits = {f"{part} digits": " ".join(map(str, data[f"{part}_classes"])) for part in ("valid", "test")}
        rows.append(
            digits
            | {"loss": task.loss, "way": run.label, "groups": task.groups, "adversary": task.adversary}
            | {"lr": cfg.optimizer.lr}
            | {"seed": run.seed, "valid": run.valid, "test": run.test, "best epoch": run.best_epoch}
            | {"parameters": run.parameters, "seconds": round(run.seconds, 3)}
        )
    table = pd.DataFrame(rows).sort_values(["loss", "way", "test digits", "seed"])
    complete = table.groupby(["loss", "test digits"]).size().nunique() == 1 and set(table["way"]) == set(WAYS)
    if not complete:
        raise ValueError(f"RUNS must hold every way for every loss and choice of digits, got {len(table)} runs")
    return table


def by_seed(table: pd.DataFrame, way: str, score: str = "test", **chosen: str) -> list[float]:
    """Percent of each seed, in their order; the mean over what is not chosen."""
    part = table[(table["way"] == way) & table[list(chosen)].eq(list(chosen.values())).all(axis=1)]
    return (100 * part.groupby("seed")[score].mean()).tolist()


def difference(table: pd.DataFrame, way: str, rival: str, **chosen: str) -> str:
    middle, low, high = paired_difference(by_seed(table, way, **chosen), by_seed(table, rival, **chosen))
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def report(table: pd.DataFrame) -> str:
    digits, losses = sorted(table["test digits"].unique()), sorted(table["loss"].unique())
    settings = table[table["way"] == "adversaries"].iloc[0]
    lines = heading("Zero-shot digits by seven-segment attributes", "benchmarks/zero_shot.sh")
    parameters = ", ".join(f"{name} {table[table['way'] == way]['parameters'].iloc[0]:,}" for way, name in WAYS.items())
    rates = ", ".join(f"{name} {table[table['way'] == way]['lr'].iloc[0]:g}" for way, name in WAYS.items())
    seeds, seconds = table["seed"].nunique(), table["seconds"].median()
    lines += [
        f"Tested digits: {', '.join(digits)} (chance 50 %). {seeds} seeds, {settings['groups']} groups, lambda "
        f"{settings['adversary']:g}; learning rate {rates}.",
        "Accuracy per class in %, of the epoch that is best on the digits to validate: mean and deviation over seeds "
        "of the mean over the choices of digits.",
        "Minus: paired by seed, with a 95 % interval, which is one over seeds, for these digits.",
        f"Parameters: {parameters}. Training took {seconds:.1f} s a run, in the median.",
        "",
    ]
    columns = [*WAYS.values(), "groups minus plain", "adversaries minus plain", "adversaries minus groups alone"]
    columns += ["validation: plain", "validation: adversaries"]
    lines += [f"| loss | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for loss in [*losses, "all"]:
        chosen = {} if loss == "all" else {"loss": loss}
        cells = [loss if chosen else "**all**"]
        for way in WAYS:
            values = by_seed(table, way, **chosen)
            cells.append(f"{mean(values):.1f} ± {stdev(values):.1f}")
        pairs = (("groups", "plain"), ("adversaries", "plain"), ("adversaries", "groups"))
        cells += [difference(table, *pair, **chosen) for pair in pairs]
        cells += [f"{mean(by_seed(table, way, 'valid', **chosen)):.1f}" for way in ("plain", "adversaries")]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Adversaries minus plain, digits by digits:", ""]
    lines += ["| loss | " + " | ".join(f"test {pair}" for pair in digits) + " |", "|---" * (len(digits) + 1) + "|"]
    for loss in [*losses, "all"]:
        chosen = {} if loss == "all" else {"loss": loss}
        cells = [difference(table, "adversaries", "plain", **chosen, **{"test digits": pair}) for pair in digits]
        lines.append(f"| {loss if chosen else '**all**'} | {' | '.join(cells)} |")
    plain = [f"{mean(by_seed(table, 'plain', **{'test digits': pair})):.1f}" for pair in digits]
    lines.append(f"| plain itself, all losses | {' | '.join(plain)} |")
    return "\n".join([*lines, "", "![what groups and adversaries bring](figure.png)", ""])


def draw(table: pd.DataFrame, path: Path) -> None:
    """Points gained over the plain loss: means with intervals, and a dot for each choice of digits."""
    losses = [*sorted(table["loss"].unique()), "all"]
    figure = Figure(figsize=(9, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for shift, (way, colour) in zip((-0.13, 0.13), COLOURS.items(), strict=True):
        for place, loss in enumerate(losses):
            chosen = {} if loss == "all" else {"loss": loss}
            middle, low, high = paired_difference(by_seed(table, way, **chosen), by_seed(table, "plain", **chosen))
            name = WAYS[way] if place == 0 else None
            error = [[middle - low], [high - middle]]
            axes.errorbar(place + shift, middle, error, fmt="o", color=colour, capsize=4, label=name)
            for digits in table["test digits"].unique():
                ours, theirs = (mean(by_seed(table, w, **chosen, **{"test digits": digits})) for w in (way, "plain"))
                axes.plot(place + shift + 0.07, ours - theirs, "_", color=colour, markersize=7, alpha=0.7)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(losses)), losses)
    axes.set_ylabel("test accuracy per class,\npoints above the plain loss")
    axes.set_title("points and 95 % intervals over seeds; dashes: single choices of digits", fontsize=10)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
