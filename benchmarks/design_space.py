"""DSXplore's design space from finished runs: accuracy against multiply-adds, parameters and milliseconds.

    python benchmarks/design_space.py RUNS [--out FOLDER] [--no-times]

RUNS is what design_space.sh leaves. Each setting's network is built anew from its configuration, to be counted and
timed (inference, packed, channels-last, all in turns). Then, over seeds: test accuracy at the best validation epoch,
which settings no other one beats in both accuracy and cost (the Pareto front), and the paired differences between
sliding windows and disjoint groups of equal parameters, with 95 % Student intervals. Writes cpu.csv, cpu.md, cpu.png.
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import design_space_plot
import timing
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from multipath_gcn.data import ImageDataset
from multipath_gcn.models import count_parameters
from multipath_gcn.nn import layer_costs, prepack
from multipath_gcn.report import read_runs
from multipath_gcn.report.compare import paired_difference
from multipath_gcn.report.runs import Run

OUT = Path(__file__).parent / "results" / "design_space"
BATCHES = (1, 32)
COSTS = ("macs", "parameters", "ms_1", "ms_32")


def read(folder: Path) -> dict[str, list[Run]]:
    """The runs of every setting, by its label; where there are several networks, by network and label."""
    found, problems = read_runs([folder])
    if problems:
        raise ValueError(f"RUNS must hold complete runs only, got {problems}")
    settings: dict[str, list[Run]] = defaultdict(list)
    several = len({run.model for run in found}) > 1
    for run in sorted(found, key=lambda run: run.seed):
        settings[f"{run.model}, {run.label}" if several else run.label].append(run)
    seeds = {tuple(run.seed for run in runs) for runs in settings.values()}
    if len(seeds) != 1:
        raise ValueError(f"RUNS must hold the same seeds of every setting, got {sorted(seeds)}")
    return dict(sorted(settings.items()))


def network(run: Run, dataset: ImageDataset) -> tuple[nn.Module, torch.Tensor]:
    """The network of a run, newly initialised, and an image."""
    model = OmegaConf.load(run.path / "config.yaml").model
    torch.manual_seed(0)
    model = instantiate(model, in_channels=dataset.channels, out_channels=dataset.num_classes, _convert_="all")
    return model.eval(), torch.randn(1, dataset.channels, *dataset.size)


def describe(label: str, runs: list[Run], dataset: ImageDataset) -> dict:
    model, example = network(runs[0], dataset)
    config = OmegaConf.load(runs[0].path / "config.yaml")
    scores = [100 * run.test for run in runs]
    convolution = config.model.convolution
    return {
        "setting": label,
        "groups": convolution.get("groups", 1),
        "overlap": convolution.get("overlap", ""),
        "seeds": len(runs),
        "parameters": count_parameters(model),
        "macs": sum(cost.macs for cost in layer_costs(model, example)),
        "test": mean(scores),
        "test_std": stdev(scores) if len(scores) > 1 else float("nan"),
        "valid": 100 * mean(run.valid for run in runs),
        "seconds_per_epoch": mean(run.seconds_per_epoch for run in runs),
    }


def add_times(rows: list[dict], settings: dict[str, list[Run]], dataset: ImageDataset, seconds: float) -> None:
    for batch in BATCHES:
        calls = {}
        for row in rows:
            model, example = network(settings[row["setting"]][0], dataset)
            images = example.repeat(batch, 1, 1, 1).contiguous(memory_format=torch.channels_last)
            calls[row["setting"]] = timing.inference(prepack(model.to(memory_format=torch.channels_last)), images)
        times = timing.interleaved(calls, timing.Clock(torch.device("cpu")), seconds, (9, 50))
        for row in rows:
            row[f"ms_{batch}"] = 1e3 * times[row["setting"]].median


def mark_fronts(rows: list[dict]) -> None:
    """A setting is on the front of a cost where none that costs as much or less is better."""
    for cost in COSTS:
        if cost not in rows[0]:
            continue
        for row in rows:
            rivals = [r for r in rows if r[cost] <= row[cost] and r is not row]
            beaten = any(r["test"] > row["test"] or (r["test"] == row["test"] and r[cost] < row[cost]) for r in rivals)
            row[f"front_{cost}"] = not beaten


def differences(settings: dict[str, list[Run]]) -> list[tuple[str, str, int, float, float, float]]:
    """Sliding minus grouped, and minus grouped and shuffled, of equal groups; then over all groups at once: a pair for
    each seed and number of groups, of the mean over overlaps, for these share their rival."""
    found = []
    pooled: dict[tuple[str, str], dict[tuple[str, int], list[tuple[float, float]]]] = {}
    for label, runs in settings.items():
        words = label.split()
        if words[0] != "sliding":
            continue
        groups, overlap = words[2], words[4]
        rivals = {"grouped": f"grouped cg {groups}", "grouped, shuffled": f"sliding cg {groups} co 0"}
        for rival, name in rivals.items():
            if name == label or name not in settings:
                continue
            ours, theirs = ([100 * run.test for run in r] for r in (runs, settings[name]))
            found.append((f"cg {groups}, co {overlap}", rival, len(ours), *paired_difference(ours, theirs)))
            kind = pooled.setdefault(("co 0" if float(overlap) == 0 else "co > 0", rival), defaultdict(list))
            for run, pair in zip(runs, zip(ours, theirs, strict=True), strict=True):
                kind[groups, run.seed].append(pair)
    for (overlap, rival), cells in pooled.items():
        pairs = [[mean(side) for side in zip(*pairs, strict=True)] for pairs in cells.values()]
        found.append((f"all cg, {overlap}", rival, len(pairs), *paired_difference(*zip(*pairs, strict=True))))
    return found


def write(rows: list[dict], paired: list[tuple], out: Path) -> str:
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "cpu.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    lines = timing.heading("Design space of 1x1 convolutions", " ".join(["design_space.py", *sys.argv[1:]]))
    lines += [
        "| setting | parameters | multiply-adds, M | ms, batch 1 | ms, batch 32 | validation % | test % | front |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for row in rows:
        times = " | ".join(f"{row[key]:.2f}" if key in row else "" for key in ("ms_1", "ms_32"))
        spread = f" ± {row['test_std']:.2f}" if row["seeds"] > 1 else ""
        fronts = ", ".join(NAMES[cost] for cost in COSTS if row.get(f"front_{cost}"))
        lines.append(
            f"| {row['setting']} | {row['parameters']:,} | {row['macs'] / 1e6:.2f} | {times} | {row['valid']:.2f} "
            f"| {row['test']:.2f}{spread} | {fronts} |"
        )
    if paired:
        lines += ["", *NOTES, "", "| sliding windows | minus | pairs | difference |", "|---|---|---|---|"]
    for what, rival, count, middle, low, high in paired:
        lines.append(f"| {what} | {rival} | {count} | {middle:+.2f} [{low:+.2f}, {high:+.2f}] |")
    text = "\n".join(lines) + "\n"
    (out / "cpu.md").write_text(text)
    return text


NOTES = (
    "Paired by seed, test %, 95 % Student interval; of all cg: a pair for each seed and cg, the mean over overlaps.",
    "Where windows are only a few channels wide, layers of different overlaps may have the same windows:",
)
NAMES = {"macs": "multiply-adds", "parameters": "parameters", "ms_1": "ms at 1", "ms_32": "ms at 32"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--times", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each network and batch")
    options = parser.parse_args()
    settings = read(options.runs)
    first = next(iter(settings.values()))[0]
    dataset = instantiate(OmegaConf.load(first.path / "config.yaml").data)
    rows = [describe(label, runs, dataset) for label, runs in settings.items()]
    rows.sort(key=lambda row: (-row["macs"], row["setting"]))
    if options.times:
        add_times(rows, settings, dataset, options.seconds)
    mark_fronts(rows)
    print(write(rows, differences(settings), options.out))
    design_space_plot.draw(rows, options.out / "cpu.png")


if __name__ == "__main__":
    main()
