"""beta-LASSO on a fully connected network: CIFAR-10 at 32 x 32, 20,000 training images, S-FC at alpha = 8.

    python benchmarks/beta_lasso.py FOLDER [--seeds 0 1 2] [--epochs 12] [--quick]

For every seed: SGD, and beta-LASSO at beta 0, 1 and 50, of one strength, the best of STRENGTHS at beta 50 on
validation images with the first seed, and beta 50 at the largest, too; S-LOCAL and S-CONV by SGD beside them. Then a
quarter of the epochs more, at a tenth of the learning rate, with zeros held: of beta 50, and of what SGD found pruned
to as many weights by magnitude (of all layers together). FOLDER keeps networks and rows.csv; run again, it does what
is missing. Writes benchmarks/results/beta_lasso.
"""

import copy
import math
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import timing
import torch
from small_images import BATCH, TEST, TRAIN, Images, descend, steps
from study import Rows, folder_of, kept, parser, publish
from torch import nn
from torch.nn.utils import prune as masks

from multipath_gcn.models import ShallowNetwork
from multipath_gcn.prune import BetaLasso, locality, nonzeros, reestimate_norms
from multipath_gcn.report import paired_difference, plot_filters

OUT = Path(__file__).parent / "results" / "beta_lasso"
STRENGTHS = (2e-5, 5e-5, 1e-4, 2e-4)
SHAPE = (3, 32, 32)
NETWORKS = {"SGD": "full", "S-LOCAL, SGD": "local", "S-CONV, SGD": "convolution"}
BETAS = {"beta 0": 0.0, "beta 1": 1.0, "beta 50": 50.0}
FIELDS = ("seed", "way", "lam", "accuracy", "valid", "weights", "first", "filters", "nonzeros", "share", "distance",
          "chance_share", "chance_distance")  # fmt: skip


def network(connectivity: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return ShallowNetwork(3, 10, connectivity, alpha=8)


def train(model: nn.Module, data: Images, epochs: float, seed: int, lr: float = 0.1, **options: float) -> nn.Module:
    """SGD or, with ``lam`` and ``beta``, beta-LASSO; no momentum, as in the paper, cosine to zero."""
    total = steps(data, epochs)
    optimizer = BetaLasso(model.parameters(), lr, **({"lam": 0.0} | options))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 * (1 + math.cos(math.pi * t / total)))
    return descend(model, data, optimizer, schedule, total, seed)


def hold_zeros(model: nn.Module, keep: float | None = None) -> nn.Module:
    """A copy whose linear layers keep their zeros or, with ``keep``, all but that many weights of largest magnitude."""
    model = copy.deepcopy(model)
    layers = [(module, "weight") for module in model.modules() if isinstance(module, nn.Linear)]
    if keep is not None:
        total = sum(layer.weight.numel() for layer, _ in layers)
        masks.global_unstructured(layers, masks.L1Unstructured, amount=total - int(keep))
        return model
    for layer, name in layers:
        masks.custom_from_mask(layer, name, layer.weight != 0)
    return model


def weights(model: nn.Module) -> int:
    """Of the linear layers, those that are not zero."""
    return sum(int(module.weight.count_nonzero()) for module in model.modules() if isinstance(module, nn.Linear))


def row(model: nn.Module, data: Images) -> dict[str, float]:
    found = {"accuracy": data.accuracy(model), "valid": data.accuracy(model, "valid"), "weights": nonzeros(model)}
    first = next(m for m in model.modules() if isinstance(m, nn.Linear))
    if first.in_features == math.prod(SHAPE):
        found |= {"weights": weights(model), "first": int(first.weight.count_nonzero())}
        found |= asdict(locality(first.weight, SHAPE))
    return found


def add(rows: Rows, seed: int, way: str, lam: float, model: nn.Module, data: Images) -> None:
    if (seed, way, lam) not in rows:
        rows.add({"seed": seed, "way": way, "lam": lam} | row(model, data))


def run(folder: Path, data: Images, seeds: list[int], epochs: int) -> None:
    table = Rows(folder, FIELDS, ("seed", "way", "lam"))

    def trained(kind: str, way: str, seed: int, lam: float = 0.0, beta: float = 0.0) -> nn.Module:
        name = f"{way}-{lam:g}-{seed}.pt".replace(", ", "-").replace(" ", "")
        model = kept(
            folder / name, network(kind, seed), lambda fresh: train(fresh, data, epochs, seed, lam=lam, beta=beta)
        )
        add(table, seed, way, lam, model, data)
        return model

    for lam in STRENGTHS:
        trained("full", "beta 50", seeds[0], lam, 50.0)
    rows = table.read()
    tried = rows[(rows.way == "beta 50") & (rows.seed == seeds[0])]
    lam = float(tried.loc[tried.valid.idxmax(), "lam"])
    for seed in seeds:
        dense = {way: trained(kind, way, seed) for way, kind in NETWORKS.items()}["SGD"]
        found = {way: trained("full", way, seed, lam, beta) for way, beta in BETAS.items()}
        sparse = trained("full", "beta 50", seed, STRENGTHS[-1], 50.0)
        for strength, model in {lam: found["beta 50"], STRENGTHS[-1]: sparse}.items():
            compared(table, seed, strength, model, dense, data, epochs)
    for way, model in (("sgd", dense), ("beta-lasso", sparse)):
        first = next(module for module in model.modules() if isinstance(module, nn.Linear))
        plot_filters(first.weight.detach().view(-1, *SHAPE).numpy(), folder / f"first-layer-{way}.png", 36)


def compared(
    table: Rows, seed: int, lam: float, sparse: nn.Module, dense: nn.Module, data: Images, epochs: int
) -> None:
    """Magnitude down to as many weights as beta-LASSO has left, and both trained on."""
    pruned = hold_zeros(dense, weights(sparse))
    reestimate_norms(pruned, data.calibration())
    add(table, seed, "SGD, magnitude", lam, pruned, data)
    for way, model in (("SGD, magnitude", pruned), ("beta 50", hold_zeros(sparse))):
        if (seed, f"{way}, fine-tuned", lam) not in table:
            train(model, data, epochs / 4, seed, lr=0.01)
            add(table, seed, f"{way}, fine-tuned", lam, model, data)


def report(folder: Path, epochs: int) -> str:
    rows = pd.read_csv(folder / "rows.csv")
    seeds = rows.seed.drop_duplicates().tolist()  # the first is the one that the strength was chosen with
    chosen = rows[(rows.way == "beta 0")].lam.iloc[0]
    lines = timing.heading("beta-LASSO: S-FC on CIFAR-10", f"beta_lasso.py FOLDER --epochs {epochs}")
    lines += [
        f"{TRAIN:,} training and {TEST:,} test images of 32 x 32, alpha = 8, {epochs} epochs of batches of {BATCH}, "
        f"learning rate 0.1 to 0 by a cosine, seeds {', '.join(map(str, seeds))}; lam = {chosen:g}, the best of "
        f"{', '.join(f'{lam:g}' for lam in STRENGTHS)} on {TEST:,} validation images at beta 50, seed {seeds[0]}. Mean "
        f"± deviation over seeds; {STRENGTHS[-1]:g} is the largest that was tried. Weights: of linear layers, not zero "
        "(S-LOCAL, S-CONV: all parameters). Share: part of a first-layer filter's non-zero weights in its best 9 x 9 "
        "window; distance between two of them in pixels; in brackets the same of as many weights thrown anywhere.",
        "",
        "| way | lam | test % | weights | in the first layer | share | distance |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    used = rows[rows.lam.isin([0.0, chosen, STRENGTHS[-1]])]
    for (way, lam), found in used.groupby(["way", "lam"], sort=False):
        accuracy = f"{found.accuracy.mean():.2f} ± {found.accuracy.std():.2f}"
        cells = [f"{lam:g}" if lam else "", accuracy, f"{found.weights.mean():,.0f}"]
        if found["first"].notna().all():
            cells += [
                f"{found['first'].mean():,.0f}",
                f"{100 * found.share.mean():.1f} % ({100 * found.chance_share.mean():.1f} %)",
                f"{found.distance.mean():.1f} ({found.chance_distance.mean():.1f})",
            ]
        else:
            cells += ["", "", ""]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    lines += ["", "Differences in points, paired by seed, with 95 % Student intervals:", ""]
    for lam in (chosen, STRENGTHS[-1]):
        by_way = {way: found.set_index("seed") for way, found in used[used.lam.isin([0.0, lam])].groupby("way")}
        for one, other in (
            ("beta 50, fine-tuned", "SGD, magnitude, fine-tuned"),
            ("beta 50", "SGD, magnitude"),
            ("beta 50", "SGD"),
            ("beta 50", "beta 0"),
        ):
            both = by_way[one].index.intersection(by_way[other].index) if other in by_way else []
            if len(both) > 1:
                values = (by_way[way].loc[both, "accuracy"].tolist() for way in (one, other))
                middle, low, high = paired_difference(*values)
                lines.append(f"- lam {lam:g}: {one} minus {other}: {middle:+.2f} [{low:+.2f}, {high:+.2f}]")
    lines += ["", f"lam at beta 50, seed {seeds[0]}:", ""]
    for _, found in rows[(rows.way == "beta 50") & (rows.seed == seeds[0])].iterrows():
        lines.append(f"- {found.lam:g}: validation {found.valid:.2f} %, {int(found.weights):,} weights")
    lines += ["", "![SGD](first-layer-sgd.png) ![beta-LASSO](first-layer-beta-lasso.png)"]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = parser(__doc__, epochs=12).parse_args()
    data = Images(1024, 500, 32) if options.quick else Images(size=32)
    folder = folder_of(options)
    run(folder, data, options.seeds, options.epochs)
    shown = ("rows.csv", "first-layer-sgd.png", "first-layer-beta-lasso.png")
    publish(report(folder, options.epochs), folder, folder if options.quick else OUT, shown)


if __name__ == "__main__":
    main()
