"""What sweeps cost beside training: seconds per run in the launcher, two runs at once against one after the other, and
the report over 1,000 runs.

    python benchmarks/sweeps.py [--epochs 1000]
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from larger_than_memory import measured
from timing import heading

OUT = Path(__file__).parent / "results" / "sweeps"
MULTIPATH = [sys.executable, "-m", "multipath_gcn"]
REPORT = [sys.executable, "-m", "multipath_gcn.report"]
SHORT = ["seed=range(0,20)", "data=digits", "model=paper_plain", "hidden_channels=16", "fit.epochs=20", "threads=1"]
LONG = ["seed=0,1", "data=synthetic_10k", "model=paper_twin", "hidden_channels=128", "threads=1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1000, metavar="N", help="of each of the two runs")
    options = parser.parse_args()
    lines = heading("Sweeps", f"python benchmarks/sweeps.py {' '.join(sys.argv[1:])}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines += ["## Launcher", "", *launcher(folder / "short"), "", "## Two runs at once", ""]
        lines += [*together(folder, options.epochs), "", "## Report over 1,000 runs", "", *report(folder / "many")]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def launcher(folder: Path) -> list[str]:
    one = sweep([*SHORT[1:], "seed=0"], folder / "one")  # starting Python, once per sweep
    seconds = sweep(SHORT, folder / "all")
    times = [json.loads(path.read_text())["timing"] for path in (folder / "all").rglob("result.json")]
    inside = sum(t["seconds"] + t["setup_seconds"] for t in times)
    first = json.loads(next((folder / "one").rglob("result.json")).read_text())["timing"]
    start = one - first["seconds"] - first["setup_seconds"]
    start_of_report = time.perf_counter()
    subprocess.run([*REPORT, str(folder / "all")], check=True, stdout=subprocess.DEVNULL)
    told = (time.perf_counter() - start_of_report) / len(times)
    each = (seconds - start - inside) / (len(times) - 1)
    return [
        f"{len(times)} runs in one process, {seconds:.1f} s, of which {inside:.1f} s set-up and training and "
        f"{start:.1f} s the start with one run: **{each:.2f} s a run** for composing, files and picture, and "
        f"{told:.2f} s for the report.",
    ]


def together(folder: Path, epochs: int) -> list[str]:
    options = [*LONG, f"fit.epochs={epochs}"]
    sweep([*LONG, "fit.epochs=1"], folder / "warm")  # the graph is generated
    serial = sweep(options, folder / "serial")
    parallel = sweep([*options, "launcher=joblib", "hydra.launcher.n_jobs=2"], folder / "parallel")
    return [
        f"Two runs of {epochs} epochs on 10,000 nodes, one thread each: one after the other {serial:.1f} s, "
        f"`launcher=joblib` {parallel:.1f} s, **{serial / parallel:.2f} times** as fast.",
    ]


def report(folder: Path) -> list[str]:
    write_runs(folder)
    seconds, peak = measured([*REPORT, str(folder), "--baseline", "m0"])
    return [f"Five data sets, 20 models, 10 seeds, 300 epochs each: **{seconds:.1f} s**, {peak:.0f} MiB."]


def sweep(options: list[str], folder: Path) -> float:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    command = [*MULTIPATH, "-m", *options, f"runs={folder}"]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def write_runs(root: Path) -> None:
    """Run directories as they would be, their numbers drawn."""
    draw = random.Random(0)
    header = "epoch,loss,lr,train,valid,test,valid_loss,seconds\n"
    for data in ("cora", "citeseer", "digits", "ogbn-arxiv", "synthetic"):
        for model in range(20):
            for seed in range(10):
                folder = root / data / f"m{model}" / f"seed{seed}"
                folder.mkdir(parents=True)
                (folder / "config.yaml").write_text("seed: 0\n")
                scores = (min(0.9, 0.3 + 0.004 * epoch + 0.01 * draw.random()) for epoch in range(300))
                rows = (f"{e},1.0,0.01,0.9,{score},0.5,1.1,0.03\n" for e, score in enumerate(scores, start=1))
                (folder / "history.csv").write_text(header + "".join(rows))
                result = {
                    **{"data": data, "model": f"m{model}", "config": f"{model:08x}", "label": "", "seed": seed},
                    **{"metric": "acc", "synthetic": False, "train": 1.0, "valid": 0.8 + 0.01 * draw.random()},
                    **{"test": 0.79 + 0.001 * model + 0.01 * draw.random(), "best_epoch": 200, "epochs": 300},
                    "paper": {"test": 0.82, "epoch": 3},
                    "parameters": 10_000 + 1000 * model,
                    "timing": {"seconds": 3 + model + draw.random(), "seconds_per_epoch": 0.03, "setup_seconds": 1.1},
                    "memory": {"peak_mib": 800.0},
                    "host": {"device": "cpu", "hardware": "a processor, 2 threads", "threads": 2, "torch": "2.13.0"},
                }
                (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
