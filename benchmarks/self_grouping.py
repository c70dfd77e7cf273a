"""Groups that a network finds itself: CIFAR-10 at 16 x 16, 10,000 training images, a VGG of six convolutions.

    python benchmarks/self_grouping.py FOLDER [--seeds 0 1 2] [--epochs 8] [--quick]

A dense network by SGD; from it, at 25, 50 and 75 % of the kernels of every layer but the first, with an epoch of
training after every level and one more at the end: SG-CNN's groups, random groups of filters and groups side by side
under the same rule, the smallest kernels without groups, and channels by magnitude until as few multiply-adds are left
as in SG-CNN's network. FOLDER keeps rows.csv and the networks; run again, it does what is missing.
benchmarks/self_grouping_speed.py takes their times. Writes benchmarks/results/self_grouping.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import timing
import torch
from small_images import TEST, Images, descend, steps
from study import Rows, folder_of, kept, parser, publish
from torch import Tensor, nn

from multipath_gcn.models import VGG
from multipath_gcn.prune import (
    Budget,
    Grouping,
    SelfGrouping,
    by_magnitude,
    compress,
    cost,
    reestimate_norms,
    repack,
    save_pruned,
)
from multipath_gcn.prune.masks import fold_masks, mask_weights
from multipath_gcn.prune.self_grouping import by_clusters
from multipath_gcn.report import paired_difference

OUT = Path(__file__).parent / "results" / "self_grouping"
TRAIN, STAGES, GROUPS, LEVELS = 10_000, ((32, 32), (64, 64), (128, 128)), 8, (0.25, 0.5, 0.75)
LR = 0.05  # of the dense network; a fifth of it afterwards
FIELDS = ("seed", "way", "level", "when", "accuracy", "sparsity", "macs", "parameters", "difference")


def network() -> nn.Module:
    return VGG(3, 10, stages=STAGES).to(memory_format=torch.channels_last)


def at_random(weight: Tensor, sparsity: float, groups: int, seed: int) -> tuple[Tensor, Grouping]:
    """Clusters of equal size, drawn; the same ones at every level."""
    labels = np.random.default_rng([seed, len(weight)]).permutation(np.arange(len(weight)) % groups)
    return by_clusters(weight, labels, sparsity)


def side_by_side(weight: Tensor, sparsity: float, groups: int, seed: int) -> tuple[Tensor, Grouping]:
    """Plain groups, as of torch.nn.Conv2d: two at one half, four at three quarters; none below."""
    count = max(g for g in (1, 2, 4) if 1 - 1 / g <= sparsity + 1e-9)
    rows, columns = (torch.arange(size) * count // size for size in weight.shape[:2])
    mask = rows[:, None] == columns
    parts = [tuple((index == g).nonzero().flatten().tolist() for g in range(count)) for index in (rows, columns)]
    return mask, Grouping(*map(lambda part: tuple(map(tuple, part)), parts))


def kernel_by_kernel(weight: Tensor, sparsity: float, groups: int, seed: int) -> tuple[Tensor, Grouping]:
    return by_clusters(weight, np.arange(len(weight)), sparsity)


WAYS: dict[str, Callable | None] = {
    "SG-CNN": None,
    "random groups": at_random,
    "groups side by side": side_by_side,
    "single kernels": kernel_by_kernel,
}
CHANNELS = "channels by magnitude"


def train(model: nn.Module, data: Images, epochs: float, lr: float, seed: int) -> nn.Module:
    total = steps(data, epochs)
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=total, cycle_momentum=False)
    return descend(model, data, optimizer, schedule, total, seed)


def macs_left(rows: pd.DataFrame, seed: int) -> dict[float, float]:
    """Of SG-CNN's network of a seed, by level."""
    found = rows[(rows.seed == seed) & (rows.way == "SG-CNN") & (rows.when == "trained")]
    return dict(zip(found.level, found.macs, strict=True))


def masked(way: str, seed: int, dense: nn.Module, data: Images, folder: Path) -> list[dict]:
    example = data.calibration(2, 2)[0]
    options = {} if WAYS[way] is None else {"assign": WAYS[way]}
    method = SelfGrouping(LEVELS[-1], LEVELS[0], groups=GROUPS, seed=seed, **options)
    layers, model, rows = method.layers(dense, *example), copy.deepcopy(dense), []

    def note(level: float, when: str, network: nn.Module, **more: float) -> None:
        found = {"seed": seed, "way": way, "level": level, "when": when, "accuracy": data.accuracy(network)}
        rows.append(found | more)

    for level in LEVELS:
        masks, groups = method.masks(model, layers, level)
        mask_weights(model, masks)
        reestimate_norms(model, data.calibration())
        off = {"sparsity": 1 - float(sum(m.sum() for m in masks.values()) / sum(m.numel() for m in masks.values()))}
        note(level, "masked", model, **off)
        train(model, data, 1, LR / 5, seed + 1)
        if way == "single kernels":  # a group of its own for every filter is no network to be called
            note(level, "trained", model, **off)
            continue
        plain = copy.deepcopy(model)
        fold_masks(plain)
        found = repack(plain, groups, *example)
        save_pruned(folder / f"{seed}-{way}-{level:g}".replace(" ", "-"), found.model, found.plans)
        spent = cost(found.model, *example)
        off |= {"macs": spent.macs / 2, "parameters": spent.parameters, "difference": found.difference}
        note(level, "trained", model, **off)
    train(model, data, 1, LR / 5, seed + 2)
    note(LEVELS[-1], "at the end", model, **off)
    return rows


def by_channels(seed: int, dense: nn.Module, data: Images, left: dict[float, float]) -> list[dict]:
    """As long in training, at as many multiply-adds."""
    example, rows, model = data.calibration(2, 2)[0], [], dense
    for level in LEVELS:
        part = left[level] / (cost(model, *example).macs / 2)
        model = compress(model, example, Budget(macs=part), by_magnitude, data.calibration()).model
        spent = cost(model, *example)
        costs = {"macs": spent.macs / 2, "parameters": spent.parameters}
        for when, epochs in (("masked", 0), ("trained", 1), *([("at the end", 1)] * (level == LEVELS[-1]))):
            if epochs:
                train(model, data, epochs, LR / 5, seed + 1 + (when == "at the end"))
            found = {"seed": seed, "way": CHANNELS, "level": level, "when": when, "accuracy": data.accuracy(model)}
            rows.append(found | costs)
    return rows


def dense_network(seed: int, data: Images, epochs: int, folder: Path) -> nn.Module:
    torch.manual_seed(seed)
    return kept(folder / f"dense-{seed}.pt", network(), lambda model: train(model, data, epochs, LR, seed))


def report(folder: Path, epochs: int) -> str:
    rows = pd.read_csv(folder / "rows.csv")
    whole = cost(network(), torch.randn(1, 3, 16, 16))
    dense = rows[rows.way == "dense"].accuracy
    seeds = ", ".join(map(str, sorted(rows.seed.unique())))
    lines = timing.heading("Self-grouping on CIFAR-10", f"self_grouping.py FOLDER --epochs {epochs}")
    lines += [
        f"{TRAIN:,} training and {TEST:,} test images of 16 x 16; {epochs} epochs dense, then one after every level "
        f"and one at the end, at a fifth of the learning rate; seeds {seeds}; "
        f"{GROUPS} groups. Dense: {dense.mean():.1f} ± {dense.std():.1f} %, {whole.macs / 1e6:.2f} M multiply-adds, "
        f"{whole.parameters:,} parameters. Test %, mean ± deviation over seeds: after masking (norms counted again), "
        "after an epoch, and at the end. Sparsity: of the kernels that may go. Difference: of the network in real "
        "groups from the masked one, largest, relative.",
        "",
        "| way | level | masked | trained | at the end | sparsity | macs left | parameters left | difference |",
        "|---|" + "---:|" * 8,
    ]
    for (way, level), found in rows[rows.way != "dense"].groupby(["way", "level"], sort=False):
        cells = [f"{level:.0%}"]
        for when in ("masked", "trained", "at the end"):
            told = found[found.when == when].accuracy
            cells.append(f"{told.mean():.1f} ± {told.std():.1f}" if len(told) else "")
        last = found[found.when == "trained"]
        cells.append(f"{last.sparsity.mean():.3f}" if last.sparsity.notna().any() else "")
        left = ((last[name].mean() / getattr(whole, name)) for name in ("macs", "parameters"))
        cells += [f"{part:.2f}" for part in left] if last.macs.notna().any() else ["", ""]
        cells.append(f"{last.difference.max():.0e}" if last.difference.notna().any() else "")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    lines += ["", "Points of SG-CNN above others, paired by seed, with 95 % Student intervals:", ""]
    for when, level in (("masked", 0.5), ("trained", 0.5), ("masked", 0.75), ("at the end", 0.75)):
        at = rows[(rows.when == when) & (rows.level == level)]
        by_way = {way: found.set_index("seed").accuracy for way, found in at.groupby("way")}
        ours, parts = by_way.pop("SG-CNN"), []
        for way in (*list(WAYS)[1:], CHANNELS):
            middle, low, high = paired_difference(ours.tolist(), by_way[way].loc[ours.index].tolist())
            parts.append(f"{way} {middle:+.1f} [{low:+.1f}, {high:+.1f}]")
        lines.append(f"- {level:.0%}, {when}: {'; '.join(parts)}")
    return "\n".join(lines) + "\n"


def main() -> None:
    options = parser(__doc__, epochs=8).parse_args()
    data = Images(1024, 500) if options.quick else Images(TRAIN)
    folder = folder_of(options)
    rows = Rows(folder, FIELDS, ("seed", "way"))
    for seed in options.seeds:
        dense = dense_network(seed, data, options.epochs, folder)
        if (seed, "dense") not in rows:
            found = {"seed": seed, "way": "dense", "level": 0.0, "when": "trained"}
            rows.add(found | {"accuracy": data.accuracy(dense)})
        for way in WAYS:
            if (seed, way) not in rows:
                rows.add(*masked(way, seed, dense, data, folder))
        if (seed, CHANNELS) not in rows:
            rows.add(*by_channels(seed, dense, data, macs_left(rows.read(), seed)))
    publish(report(folder, options.epochs), folder, folder if options.quick else OUT)


if __name__ == "__main__":
    main()
