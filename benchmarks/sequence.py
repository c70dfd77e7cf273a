"""Nats per frame, seconds per epoch and parameters of the networks that sequence.sh trains.

    python benchmarks/sequence.py RUNS [--out FOLDER]

RUNS is what sequence.sh leaves; an epoch of each network is timed anew, all by turns. Writes cpu.csv (every run),
cpu.md (means and unbiased deviations over seeds, and differences to the folded network of standard convolutions, paired
by seed, with 95 % Student intervals), and of both data sets the forecasts of that network's first seed.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from timing import heading
from torch.nn import functional as F

from multipath_gcn.data.sequences import load_digit_sequences
from multipath_gcn.network import make_network
from multipath_gcn.report import paired_difference, read_runs

OUT = Path(__file__).parent / "results" / "sequence"
FIRST = "folded standard"
ROUNDS = 5
HEAD = ["network", "parameters", "epochs", "validation nats", "test nats", f"minus {FIRST}", "s per epoch", "s in all"]


def read(folder: Path) -> pd.DataFrame:
    """One row for each run, those of a data set and network together."""
    found, problems = read_runs([folder])
    if problems:
        raise ValueError(f"RUNS must hold complete runs only, got {problems}")
    rows = []
    for run in found:
        result = json.loads((run.path / "result.json").read_text())
        nats = result["nats_per_frame"]
        row = {"data": run.data, "network": run.label, "seed": run.seed, "parameters": run.parameters}
        row |= {"epochs": result["epochs"], "best_epoch": run.best_epoch, **nats}
        rows.append(row | {"path": run.path})
        host = result["host"]
        if host["threads"] != 1:
            raise ValueError(f"RUNS must be of one thread each, got {host['threads']} in {run.path}")
    table = pd.DataFrame(rows)
    seeds = {tuple(sorted(seeds)) for _, seeds in table.groupby(["data", "network"]).seed}
    if len(seeds) != 1:
        raise ValueError(f"RUNS must hold the same seeds of every network, got {sorted(seeds)}")
    return table.sort_values(["data", "network", "seed"], ignore_index=True)


def seconds_per_epoch(table: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Medians of ROUNDS epochs of training, evaluation not counted: those of all networks of a data set by turns."""
    found = {}
    for data, rows in table.groupby("data"):
        epochs = {network: epoch_of(OmegaConf.load(path / "config.yaml")) for network, path in first_runs(rows)}
        times = {network: [] for network in epochs}
        for turn in range(ROUNDS + 1):  # the first warms up
            for network, epoch in epochs.items():
                start = time.perf_counter()
                epoch()
                times[network] += [time.perf_counter() - start] if turn else []
        found |= {(data, network): median(values) for network, values in times.items()}
    return found


def first_runs(rows: pd.DataFrame) -> list[tuple[str, Path]]:
    return [(network, of_network.path.iloc[0]) for network, of_network in rows.groupby("network")]


def epoch_of(cfg: DictConfig) -> Callable[[], None]:
    task = instantiate(cfg.task)(instantiate(cfg.data))
    widths = {"in_channels": task.in_channels, "out_channels": task.out_channels}
    model = make_network(cfg.model, widths | task.further_sizes)
    optimizer = instantiate(cfg.optimizer)(model.parameters())

    def epoch() -> None:
        for loss in task.train_losses(model, 1):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def markdown(table: pd.DataFrame) -> str:
    lines = heading(
        "Forecasts of sequences", f"benchmarks/sequence.sh: {len(table)} runs of one thread, then sequence.py"
    )
    lines += [
        "Nats per frame at the best validation epoch: mean ± unbiased deviation over seeds "
        f"{', '.join(map(str, sorted(table.seed.unique())))}; differences of test nats paired by seed, with 95 % "
        f"Student intervals. Seconds: of an epoch of training, medians of {ROUNDS}, networks by turns; in all: times "
        "the number of epochs.",
        "Floor: what a forecast that knows the next frame costs, since pixels are grey. Mean frame: that of the "
        "training sequences at the same step, which looks at no frame before it. Same frame: the last one again, "
        "pixels within [0.02, 0.98].",
        "",
    ]
    for data, rows in table.groupby("data"):
        lines += [f"## {data}", "", f"| {' | '.join(HEAD)} |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
        by_network = dict(list(rows.groupby("network")))
        base = by_network[FIRST].test.tolist()
        for network in sorted(by_network, key=lambda name: by_network[name].valid.mean()):
            lines.append(_line(network, by_network[network], None if network == FIRST else base))
        for name, nats in trivial(data.removeprefix("digit_")).items():
            lines.append(f"| *{name}* |  |  | {nats['valid']:.3f} | {nats['test']:.3f} |  |  |  |")
        lines.append("")
    return "\n".join(lines)


def trivial(form: str) -> dict[str, dict[str, float]]:
    """Nats per frame of forecasts that nobody learns, by their name and part."""
    splits = load_digit_sequences(form).splits
    mean_frames = splits["train"].mean(dim=0)[1:].clamp(1e-4, 1 - 1e-4)
    found = {"floor": {}, "mean frame": {}, "same frame": {}}
    for part in ("valid", "test"):
        wanted, last = splits[part][:, 1:], splits[part][:, :-1].clamp(0.02, 0.98)
        guesses = {"floor": wanted, "mean frame": mean_frames.expand_as(wanted), "same frame": last}
        for name, guess in guesses.items():
            found[name][part] = (
                F.binary_cross_entropy(guess, wanted, reduction="sum") / wanted[..., 0, 0, 0].numel()
            ).item()
    return found


def _line(network: str, rows: pd.DataFrame, base: list[float] | None) -> str:
    cells = [network, f"{rows.parameters.iloc[0]:,}", f"{rows.epochs.iloc[0]}"]
    cells += [f"{mean(values):.3f} ± {stdev(values):.3f}" for values in (rows.valid, rows.test)]
    difference = "" if base is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*paired_difference(list(rows.test), base))
    seconds = rows.seconds_per_epoch.iloc[0]
    cells += [difference, f"{seconds:.2f}", f"{seconds * rows.epochs.iloc[0]:.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = read(options.runs)
    seconds = seconds_per_epoch(table)
    table["seconds_per_epoch"] = [seconds[key] for key in zip(table.data, table.network, strict=True)]
    options.out.mkdir(parents=True, exist_ok=True)
    table.drop(columns="path").to_csv(options.out / "cpu.csv", index=False)
    (options.out / "cpu.md").write_text(markdown(table))
    for data, rows in table[table.network == FIRST].groupby("data"):
        shutil.copy(rows.path.iloc[0] / "figure.png", options.out / f"{data}.png")
    print(markdown(table))


if __name__ == "__main__":
    main()
