"""Epochs on a graph in parts: one process of one thread, and two such processes together (torchrun, DDP over gloo).

The multipath network for ogbn-arxiv, 128 channels wide, on the synthetic graph of its size, 32 parts, two subgraphs of
one part a step, so that both compute the same gradients; training and evaluation, on the parts. Beside them, what the
machine gives to two busy processes at all: the same one-process training, two of them side by side. In turns, each its
own start; the first epoch of a start is left out.

    python benchmarks/data_parallel.py [--rounds 3] [--epochs 4]
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from timing import heading

OUT = Path(__file__).parent / "results" / "data_parallel"
OPTIONS = ["task=clusters", "data=synthetic_arxiv", "model=paper_arxiv", "hidden_channels=128", "threads=1"]
OPTIONS += ["task.parts=32", "task.subgraphs=2", "task.evaluation=parts"]
ALONE = [sys.executable, "-m", "multipath_gcn"]
TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *ALONE[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--epochs", type=int, default=4, metavar="N", help="of a start, the first one left out")
    options = parser.parse_args()
    rows, found = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(-1, options.rounds):  # the round before the first writes the parts
            for name, commands in (("one", [ALONE]), ("two together", [TOGETHER]), ("two side by side", [ALONE] * 2)):
                seconds = epochs(commands, Path(folder), f"{name}-{number}", options.epochs)
                if number >= 0:
                    found.setdefault(name, []).extend(seconds)
                    rows += [{"round": number, "processes": name, "seconds": value} for value in seconds]
                    print(number, name, [round(value, 2) for value in seconds], flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "epochs.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    one, two, beside = (median(found[name]) for name in ("one", "two together", "two side by side"))
    lines = heading("Data-parallel training over parts", f"python benchmarks/data_parallel.py {' '.join(sys.argv[1:])}")
    lines += [
        "| processes of one thread | s per epoch, median (quartiles) | throughput, times one process |",
        "|---|---|---|",
    ]
    for name, share in (("one", 1.0), ("two together", one / two), ("two side by side", 2 * one / beside)):
        low, high = np.quantile(found[name], (0.25, 0.75))
        lines.append(f"| {name} | {median(found[name]):.2f} ({low:.2f}-{high:.2f}) | {share:.2f} |")
    lines += [
        "",
        "*Two side by side* train a network each and never speak: more than theirs no two processes can have here.",
    ]
    (OUT / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def epochs(commands: list[list[str]], folder: Path, name: str, count: int) -> list[float]:
    """Seconds of the epochs but the first of each of these commands, run at the same time."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    runs = [folder / f"{name}-{i}" for i in range(len(commands))]
    started = [
        subprocess.Popen([*command, *OPTIONS, f"fit.epochs={count}", f"hydra.run.dir={run}"], env=environment,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command, run in zip(commands, runs, strict=True)
    ]  # fmt: skip
    while any(process.poll() is None for process in started):
        time.sleep(0.5)
    if any(process.returncode for process in started):
        raise RuntimeError(f"{name} has failed: {[' '.join(process.args) for process in started]}")
    return [float(row["seconds"]) for run in runs for row in list(csv.DictReader(open(run / "history.csv")))[1:]]


if __name__ == "__main__":
    main()
