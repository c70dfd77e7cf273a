"""Channels and blocks that training removes itself: a ResNet of six blocks on 10,000 images of CIFAR-10 at 16 x 16.

    python benchmarks/adaptive_pruning.py FOLDER [--seeds 0 1 2] [--strengths 0.65 0.8] [--quick]

A dense network by SGD. From it, for as many epochs each: the dense one on; gates (GATED epochs) and what they leave
(TUNED epochs); and by L2 norms, of all layers together and of every layer the same part, down to as many parameters as
gates have left. The strength is of every seed that of STRENGTHS whose network comes nearest to half of the parameters.
FOLDER keeps rows.csv and dense networks; run again, it does what is missing. Writes
benchmarks/results/adaptive_pruning.
"""

from functools import partial
from pathlib import Path

import pandas as pd
import timing
import torch
from small_images import TEST, Images, descend, steps
from study import Rows, folder_of, kept, parser, publish
from torch import nn
from torch.nn import functional as F

from multipath_gcn.models import ResNet
from multipath_gcn.prune import AdaptivePruning, Budget, Compressed, by_magnitude, compress, cost
from multipath_gcn.report import paired_difference

OUT = Path(__file__).parent / "results" / "adaptive_pruning"
TRAIN, DENSE, GATED, TUNED, LR = 10_000, 6, 6, 2, 0.1
FIELDS = ("seed", "way", "strength", "straight", "accuracy", "parameters", "macs", "channels", "branches", "widths")


def network() -> nn.Module:
    return ResNet(3, 10, width=0.25, blocks=(2, 2, 2)).to(memory_format=torch.channels_last)


def train(model: nn.Module, data: Images, epochs: int, lr: float, seed: int, penalty=None) -> nn.Module:
    total = steps(data, epochs)
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=total, cycle_momentum=False)
    return descend(model, data, optimizer, schedule, total, seed, loss_of=None if penalty is None else _with(penalty))


def _with(penalty):
    return lambda scores, labels: F.cross_entropy(scores, labels) + penalty()


def gated(model: nn.Module, data: Images, strength: float, seed: int) -> Compressed:
    def stage(network: nn.Module, name: str, epochs: int, penalty=None, keep: str = "best") -> None:
        train(network, data, epochs, LR / 2, seed, penalty)

    return AdaptivePruning(strength, GATED).compress(model, data.calibration(2, 2)[0], stage)


def widths(model: nn.Module) -> str:
    """Inner channels of every block; - for one without a branch."""
    return " ".join("-" if b.body is None else str(b.body[0].convolution.out_channels) for b in model.features[1:])


def dense_network(seed: int, data: Images, folder: Path) -> nn.Module:
    torch.manual_seed(seed)
    return kept(folder / f"dense-{seed}.pt", network(), lambda model: train(model, data, DENSE, LR, seed))


def adaptive(rows: Rows, seed: int, strength: float, dense: nn.Module, data: Images) -> None:
    if (seed, "gates", strength) in rows:
        return
    try:
        found = gated(dense, data, strength, seed + 1)
    except ValueError as error:
        if "has closed none" not in str(error):
            raise
        left, facts = 1.0, {"channels": 0, "branches": 0}
        model = train(dense, data, GATED, LR / 2, seed + 1)
    else:
        left, facts, model = found.achieved["parameters"], found.achieved, found.model
    straight = data.accuracy(model)
    train(model, data, TUNED, LR / 5, seed + 2)
    spent = cost(model, *data.calibration(2, 2)[0])
    row = {"seed": seed, "way": "gates", "strength": strength, "straight": straight, "accuracy": data.accuracy(model)}
    row |= {"channels": facts["channels"], "branches": facts["branches"], "widths": widths(model)}
    rows.add(row | {"parameters": left, "macs": spent.macs / 2})


def chosen(rows: pd.DataFrame, strengths: list[float]) -> dict[int, float]:
    """By seed."""
    tried = rows[(rows.way == "gates") & rows.strength.isin(strengths)]
    nearest = (tried.parameters - 0.5).abs().groupby(tried.seed).idxmin()
    return tried.loc[nearest].set_index("seed").strength.to_dict()


def others(rows: Rows, seed: int, strength: float, dense_of, data: Images) -> None:
    known = rows.read()
    found = known[(known.way == "gates") & (known.seed == seed) & (known.strength == strength)].iloc[0]
    example = data.calibration(2, 2)[0]
    whole = cost(dense_of(), *example)
    for way, scope in (("dense", None), ("L2 norm, all layers", "global"), ("L2 norm, layer by layer", "layer")):
        at = 0.0 if scope is None else strength
        if (seed, way, at) in rows or (scope is not None and found.parameters == 1):
            continue
        model = dense_of()
        if scope is not None:
            method = partial(by_magnitude, scope=scope)
            budget = Budget(parameters=float(found.parameters))
            model = compress(model, example, budget, method, data.calibration()).model
        straight = data.accuracy(model)
        train(model, data, GATED, LR / 2, seed + 1)
        train(model, data, TUNED, LR / 5, seed + 2)
        spent = cost(model, *example)
        row = {"seed": seed, "way": way, "strength": at, "straight": straight, "accuracy": data.accuracy(model)}
        row |= {"parameters": spent.parameters / whole.parameters, "macs": spent.macs / 2}
        rows.add(row | {"channels": "", "branches": 0, "widths": widths(model)})


def report(rows: pd.DataFrame, strengths: dict[int, float]) -> str:
    whole = cost(network(), torch.randn(1, 3, 16, 16))
    lines = timing.heading("Adaptive pruning on CIFAR-10", "adaptive_pruning.py FOLDER")
    seeds = ", ".join(map(str, sorted(rows.seed.unique())))
    lines += [
        f"{TRAIN:,} training and {TEST:,} test images of 16 x 16; a ResNet of {whole.parameters:,} parameters, "
        f"{whole.macs / 1e6:.2f} M multiply-adds and inner widths {widths(network())}; {DENSE} epochs dense, then "
        f"{GATED} and {TUNED} more for every way; seeds {seeds}, strengths "
        f"{', '.join(f'{strengths[seed]:g}' for seed in sorted(strengths))}. Mean ± deviation over seeds. "
        "Straight: before the first epoch without gates or, of L2 norms, with norms counted again. Channels gone: of "
        "blocks that stay. L2 norms may cut the stream between blocks, too; gates leave it, and may take whole blocks.",
        "",
        "| way | straight % | test % | parameters left | multiply-adds left | channels gone | blocks gone |",
        "|---|" + "---:|" * 6,
    ]
    used = rows[(rows.way == "dense") | (rows.strength == rows.seed.map(strengths))]
    for way, found in used.groupby("way", sort=False):
        cells = [f"{found[name].mean():.1f} ± {found[name].std():.1f}" for name in ("straight", "accuracy")]
        cells += [f"{p.mean():.2f} ± {p.std():.2f}" for p in (found.parameters, found.macs / whole.macs)]
        gone = found.channels.notna().all()
        cells += [
            " ".join(f"{found[n].iloc[i]:.0f}" for i in range(len(found))) if gone else ""
            for n in ("channels", "branches")
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    lines += ["", "Points of gates above others, paired by seed, with 95 % Student intervals:", ""]
    by_way = {way: found.set_index("seed").accuracy for way, found in used.groupby("way")}
    ours = by_way.pop("gates")
    for way, theirs in by_way.items():
        middle, low, high = paired_difference(ours.tolist(), theirs.loc[ours.index].tolist())
        lines.append(f"- {way}: {middle:+.1f} [{low:+.1f}, {high:+.1f}]")
    lines += [
        "",
        "Inner widths of the blocks that gates have left (- : no branch), and all strengths that were tried:",
        "",
    ]
    for _, found in rows[rows.way == "gates"].iterrows():
        lines.append(
            f"- seed {found.seed}, strength {found.strength:g}: {found.widths}; {found.parameters:.2f} of the "
            f"parameters, {found.accuracy:.1f} %"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--strengths", type=float, nargs="+", default=[0.65, 0.8])
    options = arguments.parse_args()
    data = Images(1024, 500) if options.quick else Images(TRAIN)
    folder = folder_of(options)
    rows = Rows(folder, FIELDS, ("seed", "way", "strength"))
    for seed in options.seeds:
        for strength in options.strengths:
            adaptive(rows, seed, strength, dense_network(seed, data, folder), data)
        others(
            rows, seed, chosen(rows.read(), options.strengths)[seed], partial(dense_network, seed, data, folder), data
        )
    strengths = chosen(rows.read(), options.strengths)
    publish(report(rows.read(), strengths), folder, folder if options.quick else OUT)


if __name__ == "__main__":
    main()
