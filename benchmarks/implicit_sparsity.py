"""Filters that training switches off: CIFAR-10 at 16 x 16, 10,000 training images, a VGG of six convolutions.

    python benchmarks/implicit_sparsity.py FOLDER [--seeds 0 1 2] [--epochs 20] [--quick]

Adam with L2 in the gradient (two strengths, two batch sizes), AdamW, SGD with L2, and Adam without either. After
every epoch the filters that are inactive by both tests of the paper, over all training images (curves.csv); after the
last what prune.by_inactivity removes of them, beside the removal of as many by their L2 norms. FOLDER keeps rows.csv;
run again, it does what is missing. Writes benchmarks/results/implicit_sparsity.
"""

import copy
import csv
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import timing
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from small_images import TEST, Images
from study import Rows, folder_of, parser, publish
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW

from multipath_gcn.models import VGG
from multipath_gcn.prune import Budget, by_inactivity, by_magnitude, compress, cost, cut, find_channels, selectivity
from multipath_gcn.prune.inactive import ACTIVATION, SCALE, largest_scales

OUT = Path(__file__).parent / "results" / "implicit_sparsity"
TRAIN, STAGES = 10_000, ((16, 16), (32, 32), (64, 64))
FILTERS = sum(map(sum, STAGES))
WAYS = {
    "Adam, L2 1e-3": (partial(Adam, lr=3e-3, weight_decay=1e-3), 40),
    "Adam, L2 3e-3": (partial(Adam, lr=3e-3, weight_decay=3e-3), 40),
    "Adam, L2 1e-3, batch 128": (partial(Adam, lr=3e-3, weight_decay=1e-3), 128),
    "AdamW, 1e-1": (partial(AdamW, lr=3e-3, weight_decay=1e-1), 40),
    "SGD, L2 3e-3": (partial(SGD, lr=0.02, momentum=0.9, weight_decay=3e-3), 40),
    "Adam, nothing": (partial(Adam, lr=3e-3), 40),
}
FIELDS = ("seed", "way", "accuracy", "scale", "activation", "removed", "difference", "left", "macs", "parameters",
          "magnitude", "ms_before", "ms_after")  # fmt: skip


def counts(model: nn.Module, data: Images) -> dict[str, float]:
    """Filters inactive by either test, and the mean selectivity of those that are active by both, layer by layer."""
    model.eval()
    batches = [(x,) for (x,) in data.calibration(len(data.splits["train"][0]), 500)]
    channels = find_channels(model, batches[0][0][:2])
    scales = np.concatenate(list(largest_scales(model, channels).values()))
    found = {"scale": int((scales < SCALE).sum()), "activation": 0}
    found |= {"below 0.1": int((scales < 0.1).sum()), "median": float(np.median(scales))}
    blocks = [layer for layer in model.features if not isinstance(layer, nn.MaxPool2d)]
    tops: list[list[torch.Tensor]] = [[] for _ in blocks]
    hooks = [
        block.register_forward_hook(lambda _, x, y, top=top: top.append(y.flatten(2).amax(2)))
        for block, top in zip(blocks, tops, strict=True)
    ]
    with torch.no_grad():
        for batch in batches:
            model(*batch)
    for hook in hooks:
        hook.remove()
    for i, (block, top) in enumerate(zip(blocks, tops, strict=True)):
        told = selectivity(torch.cat(top))
        found["activation"] += int((torch.cat(top).amax(0) < ACTIVATION).sum())
        active = (told < 1) & (block.norm.weight.abs() >= SCALE)
        found[f"selectivity {i}"] = float(told[active].mean()) if active.any() else float("nan")
    return found


def trained(way: str, seed: int, data: Images, epochs: int, curves: Path) -> nn.Module:
    make, batch = WAYS[way]
    torch.manual_seed(seed)
    model = VGG(3, 10, stages=STAGES).to(memory_format=torch.channels_last)
    optimizer, generator = make(model.parameters()), torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        model.train()
        for images, labels in data.batches(generator, size=batch):
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        found = {"seed": seed, "way": way, "epoch": epoch, "accuracy": data.accuracy(model)} | counts(model, data)
        with open(curves, "a", newline="") as file:
            table = csv.DictWriter(file, found)
            if file.tell() == 0:
                table.writeheader()
            table.writerow(found)
    return model.eval()


def removed(model: nn.Module, data: Images) -> dict[str, float]:
    """What removal leaves of a network, and what removal of as many filters by L2 norm does."""
    example = data.calibration(256, 256)[0][0]
    before = counts(model, data)
    found = {"accuracy": data.accuracy(model), **{test: before[test] for test in ("scale", "activation")}}
    if not before["scale"]:
        costs = cost(model, example[:1])
        left = {"macs": costs.macs, "parameters": costs.parameters, "ms_before": 1.0, "ms_after": 1.0}
        same = {"left": found["accuracy"], "magnitude": found["accuracy"], "difference": 0.0}
        return found | {"removed": 0} | left | same
    smaller = compress(model, (example,), Budget(all=True), by_inactivity, reestimate=False)
    with torch.no_grad():
        difference = float((smaller.model(example) - model(example)).abs().max())
    channels = find_channels(model, example)
    other, plan = by_magnitude(model, channels).finish(model, smaller.plan.count)
    cut(other, plan)
    times = [call.median for call in _times(model, smaller.model, example).values()]
    costs = cost(smaller.model, example[:1])
    return found | {
        "removed": smaller.plan.count, "difference": difference, "left": data.accuracy(smaller.model),
        "macs": costs.macs, "parameters": costs.parameters, "magnitude": data.accuracy(other),
        "ms_before": 1e3 * times[0], "ms_after": 1e3 * times[1],
    }  # fmt: skip


def _times(model: nn.Module, smaller: nn.Module, example: torch.Tensor) -> dict:
    calls = {name: timing.inference(copy.deepcopy(m), example[:32]) for name, m in (("all", model), ("left", smaller))}
    return timing.interleaved(calls, timing.Clock(torch.device("cpu")), 0.3, (9, 50))


def report(folder: Path, epochs: int) -> str:
    rows, curves = pd.read_csv(folder / "rows.csv"), pd.read_csv(folder / "curves.csv")
    whole = cost(VGG(3, 10, stages=STAGES), torch.randn(1, 3, 16, 16))
    lines = timing.heading("Implicit filter sparsity on CIFAR-10", f"implicit_sparsity.py FOLDER --epochs {epochs}")
    lines += [
        f"{TRAIN:,} training and {TEST:,} test images of 16 x 16, {epochs} epochs at a constant learning rate (3e-3, "
        f"SGD 0.02), batches of 40 unless told, seeds {', '.join(map(str, sorted(rows.seed.unique())))}; {FILTERS} "
        f"filters, {whole.parameters:,} parameters, {whole.macs / 1e6:.2f} M multiply-adds. Mean ± deviation over "
        "seeds. Inactive: largest scale of the batch norm below 1e-3; no activation above 1e-12 over all training "
        "images. Difference: of the scores of 256 training images, largest. L2 norms: accuracy after the removal of as "
        "many filters by magnitude. Time: batch 32, in turns, left over before. Batches of 128 are a third of the "
        "steps. AdamW shrinks weights by lr times 0.1 = 3e-4 of themselves a step.",
        "",
        "| way | test % | inactive by scale | by activation | removed | test % then | difference | L2 norms | "
        "multiply-adds left | parameters left | time |",
        "|---|" + "---:|" * 10,
    ]
    for way, found in rows.groupby("way", sort=False):
        cells = [f"{found.accuracy.mean():.1f} ± {found.accuracy.std():.1f}"]
        cells += [f"{found[name].mean():.0f} ± {found[name].std():.0f}" for name in ("scale", "activation")]
        cells += [
            f"{found.removed.mean():.0f}", f"{found.left.mean():.1f}", f"{found.difference.max():.1e}",
            f"{found.magnitude.mean():.1f}", f"{100 * found.macs.mean() / whole.macs:.0f} %",
            f"{100 * found.parameters.mean() / whole.parameters:.0f} %",
            f"{(found.ms_after / found.ms_before).mean():.2f}",
        ]  # fmt: skip
        lines.append(f"| {way} | {' | '.join(cells)} |")
    layers = [name for name in curves if name.startswith("selectivity")]
    last = curves[curves.epoch == curves.epoch.max()]
    lines += [
        "",
        "After the last epoch: scales below 0.1, their median, and layer by layer the mean selectivity over all "
        "training images of the features active by both tests:",
        "",
    ]
    numbers = " | ".join(str(i) for i in range(1, len(layers) + 1))
    lines += [f"| way | below 0.1 | median | {numbers} |", "|---|" + "---:|" * (len(layers) + 2)]
    for way, found in last.groupby("way", sort=False):
        cells = [f"{found['below 0.1'].mean():.0f}", *(f"{found[name].mean():.2f}" for name in ("median", *layers))]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    lines += ["", "![inactive filters over epochs](curves.png)"]
    return "\n".join(lines) + "\n"


def draw(folder: Path, path: Path) -> None:
    curves = pd.read_csv(folder / "curves.csv")
    curves["selectivity"] = curves[[name for name in curves if name.startswith("selectivity")]].mean(axis=1)
    figure = Figure(figsize=(16, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = {
        "scale": "filters with |γ| < 1e-3",
        "below 0.1": "filters with |γ| < 0.1",
        "median": "median |γ|",
        "selectivity": "selectivity, mean of layers",
        "accuracy": "test accuracy (%)",
    }
    for axes, (name, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for way, found in curves.groupby("way", sort=False):
            mean = found.groupby("epoch")[name].mean()
            axes.plot(mean.index, mean, label=way, linewidth=1.3)
        axes.set(xlabel="epoch", ylabel=title)
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path)


def main() -> None:
    options = parser(__doc__, epochs=20).parse_args()
    data = Images(1024, 500) if options.quick else Images(TRAIN)
    folder = folder_of(options)
    rows = Rows(folder, FIELDS, ("seed", "way"))
    for seed in options.seeds:
        for way in WAYS:
            if (seed, way) in rows:
                continue
            part = folder / f"{way}-{seed}.part".replace(" ", "").replace(",", "-")
            part.unlink(missing_ok=True)  # of a run that was cut off
            model = trained(way, seed, data, options.epochs, part)
            found = {"seed": seed, "way": way} | removed(model, data)
            part.replace(part.with_suffix(".curve"))
            rows.add(found)
    curves = [pd.read_csv(path) for path in sorted(folder.glob("*.curve"))]
    order = {way: i for i, way in enumerate(WAYS)}
    together = pd.concat(curves).sort_values(["seed", "way", "epoch"], key=lambda c: c.replace(order))
    together.to_csv(folder / "curves.csv", index=False)
    draw(folder, folder / "curves.png")
    shown = ("rows.csv", "curves.csv", "curves.png")
    publish(report(folder, options.epochs), folder, folder if options.quick else OUT, shown)


if __name__ == "__main__":
    main()
