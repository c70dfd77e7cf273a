"""What groups of attributes and adversaries bring to zero-shot losses, from the runs of zero_shot.sh.

python benchmarks/zero_shot_report.py RUNS

Scores are those of the last epoch. For every way, loss and choice of digits the learning rate is taken whose mean
accuracy over seeds is higher on the digits to validate. Differences are paired by seed, each seed's score being the
mean over the choices of digits; 95 % Student intervals.
"""

import sys
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from timing import heading

from multipath_gcn.data import load_digit_segments
from multipath_gcn.report import paired_difference, read_runs
from multipath_gcn.tasks.compatibility import compatibility, eszsl_closed_form
from multipath_gcn.tasks.zero_shot import class_accuracy

OUT = Path(__file__).parent / "results" / "zero_shot"
WAYS = {"plain": "plain", "groups": "groups alone", "adversaries": "groups and adversaries"}
COLOURS = {"groups": "#0072B2", "adversaries": "#D55E00"}
PAIRS = (("groups", "plain"), ("adversaries", "plain"), ("adversaries", "groups"))
STRENGTHS = (0.1, 1.0, 10.0, 100.0)


def main(runs: Path) -> None:
    every = read(runs)
    table = chosen_by_validation(every)
    OUT.mkdir(parents=True, exist_ok=True)
    every.to_csv(OUT / "cpu.csv", index=False, float_format="%.6f")
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
        last = pd.read_csv(run.path / "history.csv").iloc[-1]
        rows.append(
            digits
            | {"loss": task.loss, "way": run.label, "groups": task.groups, "adversary": task.adversary}
            | {"lr": cfg.optimizer.lr, "seed": run.seed, "valid": last["valid"], "test": last["test"]}
            | {"best valid": run.valid, "test then": run.test, "best epoch": run.best_epoch}
            | {"parameters": run.parameters, "seconds": round(run.seconds, 3)}
        )
    table = pd.DataFrame(rows)
    for way, part in table.groupby("way"):
        if len(settings := part[["groups", "adversary"]].drop_duplicates()) > 1:
            raise ValueError(f"RUNS must hold one setting of {way}, got {settings.to_dict('records')}")
    keys = ["loss", "way", "test digits", "lr", "seed"]
    wanted = set(product(*(table[key].unique() for key in keys)))
    got = list(table[keys].itertuples(index=False, name=None))
    if set(table["way"]) != set(WAYS) or len(got) != len(wanted) or set(got) != wanted:
        raise ValueError(f"RUNS must hold each of {len(wanted)} runs of zero_shot.sh once, got {len(got)} runs")
    return table.sort_values(keys)


def chosen_by_validation(table: pd.DataFrame) -> pd.DataFrame:
    kept = []
    for _, part in table.groupby(["loss", "way", "test digits"]):
        rate = part.groupby("lr")["valid"].mean().idxmax()
        kept.append(part[part["lr"] == rate])
    return pd.concat(kept)


def by_seed(table: pd.DataFrame, way: str, score: str = "test", **chosen: str) -> list[float]:
    """Percent of each seed, in their order; the mean over what is not chosen."""
    part = table[(table["way"] == way) & table[list(chosen)].eq(list(chosen.values())).all(axis=1)]
    return (100 * part.groupby("seed")[score].mean()).tolist()


def difference(table: pd.DataFrame, way: str, rival: str, score: str = "test", **chosen: str) -> str:
    ours, theirs = (by_seed(table, name, score, **chosen) for name in (way, rival))
    middle, low, high = paired_difference(ours, theirs)
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def closed_form(choices: list[str]) -> dict[str, float]:
    """Test accuracy of ESZSL's own solution by choice of digits, in percent: the training mean taken off, its two
    strengths the best on the digits to validate."""
    found = {}
    for choice in choices:
        valid, test = ([int(digit) for digit in part.split()] for part in choice.split(" | "))
        data = load_digit_segments(valid, test)
        x = data.x.double() - data.x[data.split["train"]].double().mean(dim=0)
        attributes = data.attributes.double()

        def score(part, solution, data=data, x=x, attributes=attributes):
            classes, rows = data.classes(part), data.split[part]
            guesses = compatibility(x[rows] @ solution, attributes[classes]).argmax(dim=1)
            return class_accuracy(guesses, torch.searchsorted(classes, data.y[rows]))

        seen, rows = data.classes("train"), data.split["train"]
        labels = torch.searchsorted(seen, data.y[rows])
        strengths = product(STRENGTHS, repeat=2)
        solutions = [eszsl_closed_form(x[rows], labels, attributes[seen], *pair) for pair in strengths]
        best = max(solutions, key=lambda solution: score("valid", solution))
        found[choice] = 100 * score("test", best)
    return found


def report(table: pd.DataFrame) -> str:
    digits, losses = sorted(table["test digits"].unique()), sorted(table["loss"].unique())
    settings = table[table["way"] == "adversaries"].iloc[0]
    lines = heading("Zero-shot digits by seven-segment attributes", "benchmarks/zero_shot.sh")
    parameters = ", ".join(f"{name} {table[table['way'] == way]['parameters'].iloc[0]:,}" for way, name in WAYS.items())
    seeds, seconds = table["seed"].nunique(), table["seconds"].median()
    lines += [
        f"Tested digits: {', '.join(digits)} (chance 50 %). {seeds} seeds, {settings['groups']} groups, lambda "
        f"{settings['adversary']:g}; groups alone: the same network, lambda 0.",
        "Accuracy per class in %, after the last epoch: mean and deviation over seeds of the mean over the choices of "
        "digits. Learning rate: of two the better on the digits to validate, for every way, loss and choice of digits.",
        "Minus: paired by seed, with a 95 % interval, which is one over seeds, for these digits.",
        f"Parameters, with those of the adversaries: {parameters}.",
        f"Training took {seconds:.1f} s a run beside other work, in the median.",
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
        cells += [difference(table, *pair, **chosen) for pair in PAIRS]
        cells += [f"{mean(by_seed(table, way, 'valid', **chosen)):.1f}" for way in ("plain", "adversaries")]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Adversaries minus plain, digits by digits:", ""]
    lines += ["| loss | " + " | ".join(f"test {pair}" for pair in digits) + " |", "|---" * (len(digits) + 1) + "|"]
    for loss in [*losses, "all"]:
        chosen = {} if loss == "all" else {"loss": loss}
        cells = [difference(table, "adversaries", "plain", **chosen, **{"test digits": pair}) for pair in digits]
        lines.append(f"| {loss if chosen else '**all**'} | {' | '.join(cells)} |")
    plain = [mean(by_seed(table, "plain", **{"test digits": pair})) for pair in digits]
    lines.append(f"| plain itself, all losses | {' | '.join(f'{score:.1f}' for score in plain)} |")
    choices = table[["valid digits", "test digits"]].drop_duplicates().agg(" | ".join, axis=1)
    closed = {choice.split(" | ")[1]: score for choice, score in closed_form(list(choices)).items()}
    lines.append(f"| ESZSL in closed form, of pixels | {' | '.join(f'{closed[pair]:.1f}' for pair in digits)} |")
    early = ", ".join(f"{way} minus {rival} {difference(table, way, rival, 'test then')}" for way, rival in PAIRS)
    share = (table[table["way"] == "adversaries"]["best epoch"] <= 3).mean()
    lines += [
        "",
        f"ESZSL in closed form: {mean(closed.values()):.1f} in the mean.",
        f"At the epoch that is best on the digits to validate, instead of the last: {early}. With adversaries that is "
        f"one of the first three epochs in {share:.0%} of the runs, where their gradient is weak.",
        "",
        "![what groups and adversaries bring](figure.png)",
        "",
    ]
    return "\n".join(lines)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Points gained over the plain loss: means with intervals, and a dash for each choice of digits."""
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
