"""What the groups of benchmarks/self_grouping.py are worth in milliseconds.

    python benchmarks/self_grouping_speed.py FOLDER [--seconds 2]

FOLDER: where that left its networks. The dense network, as it is and packed for inference, and SG-CNN's in real groups
at 50 and 75 % of the kernels, packed, in turns: batches of 1 and 32 images of 16 x 16 and 32 x 32, float32, each in its
fastest form and memory format. Adds speed.csv and speed.md to benchmarks/results/self_grouping.
"""

import argparse
import csv
from itertools import product
from pathlib import Path

import pandas as pd
import timing
import torch
from self_grouping import LEVELS, OUT, network
from torch import nn

from multipath_gcn.nn import prepack
from multipath_gcn.prune import cost, load_pruned

SIZES, BATCHES = (16, 32), (1, 32)
FORMATS = {"planar": torch.contiguous_format, "channels last": torch.channels_last}
FIELDS = ("seed", "size", "batch", "level", "macs_left", "ms_dense", "dense", "ms", "in_groups", "time_left", "share")


def dense_network(folder: Path, seed: int) -> nn.Module:
    model = network()
    model.load_state_dict(torch.load(folder / f"dense-{seed}.pt", weights_only=True))
    return model.eval()


def rows_of(folder: Path, seed: int, seconds: float) -> list[dict]:
    dense, rows = dense_network(folder, seed), []
    groups = {level: load_pruned(folder / f"{seed}-SG-CNN-{level:g}", network()).eval() for level in LEVELS[1:]}
    networks = {"dense": {"as it is": dense, "packed": prepack(dense)}}
    networks |= {level: {"packed": prepack(model)} for level, model in groups.items()}
    for size, batch in product(SIZES, BATCHES):
        x = torch.randn(batch, 3, size, size)
        calls = {
            (of, f"{way}, {name}"): timing.inference(model, x.contiguous(memory_format=memory_format))
            for of, ways in networks.items()
            for way, model in ways.items()
            for name, memory_format in FORMATS.items()
        }
        times = {name: call.median for name, call in _times(calls, seconds).items()}
        best = {of: min((key for key in times if key[0] == of), key=times.get) for of in networks}
        for level, model in groups.items():
            left = cost(model, x).macs / cost(dense, x).macs
            part = times[best[level]] / times[best["dense"]]
            rows.append(
                {
                    "seed": seed, "size": size, "batch": batch, "level": level, "macs_left": left,
                    "ms_dense": 1e3 * times[best["dense"]], "dense": best["dense"][1], "ms": 1e3 * times[best[level]],
                    "in_groups": best[level][1], "time_left": part, "share": (1 - part) / (1 - left),
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def _times(calls: dict, seconds: float) -> dict:
    return timing.interleaved(calls, timing.Clock(torch.device("cpu")), seconds, (15, 200))


def report(rows: pd.DataFrame) -> str:
    lines = timing.heading("Speed of self-grouped networks", "self_grouping_speed.py FOLDER")
    lines += [
        f"{rows.seed.nunique()} seeds, medians in turns, then means over seeds, each network in its fastest form. "
        "Share: time saved over multiply-adds saved.",
        "",
        "| images | batch | kernels off | macs left | dense ms | form | in groups ms | form | faster | share |",
        "|---|---:|---:|---:|---:|---|---:|---|---:|---:|",
    ]
    for (size, batch, level), found in rows.groupby(["size", "batch", "level"]):
        forms = (found[name].mode().iloc[0] for name in ("dense", "in_groups"))
        dense, groups = (f"{found[ms].mean():.2f} | {form}" for ms, form in zip(("ms_dense", "ms"), forms, strict=True))
        lines.append(
            f"| {size} x {size} | {batch} | {level:.0%} | {found.macs_left.mean():.2f} | {dense} | {groups} | "
            f"{1 / found.time_left.mean():.2f} x | {found.share.mean():.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    seeds = sorted(int(path.stem.partition("-")[2]) for path in options.folder.glob("dense-*.pt"))
    rows = [row for seed in seeds for row in rows_of(options.folder, seed, options.seconds)]
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "speed.csv", "w", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        table.writeheader()
        table.writerows(rows)
    text = report(pd.DataFrame(rows))
    (OUT / "speed.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
