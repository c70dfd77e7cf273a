"""Pruning methods on small networks and real images: CIFAR-10 at 16 x 16, 20,000 training images.

    python benchmarks/pruning.py FOLDER [--seeds 0 1 2] [--quick]

Three experiments, each for every seed, network and method straight after pruning, after batch norms counted their
statistics again, and after a quarter of an epoch of training:
 planted  the largest quarter of filters of every layer twice, half of the weight each: pruned back to the old width
 natural  the trained networks at 0.7 and 0.5 of the multiply-adds
 lasso    what is chosen (LASSO, L1, random) and what is rebuilt (least squares or nothing) at 1/2 and 1/4
FOLDER keeps trained networks and rows.csv; run again, it does what is missing. About 40 minutes on two slow cores.
"""

import copy
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from pruning_subjects import NETWORKS, subject
from small_images import Images, train
from study import Rows, parser
from torch import nn

from multipath_gcn.nn import ConvBlock
from multipath_gcn.prune import (
    Budget,
    LassoReconstruction,
    Similarity,
    by_chance,
    by_magnitude,
    by_norm_scale,
    by_torch_pruning,
    compress,
    cost,
    cut,
    find_channels,
    reestimate_norms,
)
from multipath_gcn.prune.latency import milliseconds

METHODS: dict[str, Callable] = {
    "similarity": Similarity,
    "similarity, no correlation": partial(Similarity, metric="independent"),
    "similarity, moments of data": partial(Similarity, moments="data"),
    "L2, global": by_magnitude,
    "L2, every layer alike": partial(by_magnitude, scope="layer"),
    "L1, global": partial(by_magnitude, p=1),
    "scale of norms": by_norm_scale,
    "Torch-Pruning, group L2": by_torch_pruning,
    "LASSO": LassoReconstruction,
    "random": by_chance,
}
Pruned = Iterator[tuple[str, str, Callable[[], nn.Module]]]
"""Method, budget, and what makes the smaller network."""
FIELDS = ("experiment", "network", "seed", "method", "budget", "before", "straight", "reestimated", "trained",
          "macs", "parameters", "ms_1", "ms_32", "seconds", "difference")  # fmt: skip


@torch.no_grad()
def plant(model: nn.Module, part: float = 0.25) -> nn.Module:
    """A wider network of the same function: the largest filters of every layer of a VGG twice."""
    wide = copy.deepcopy(model)
    blocks = [module for module in wide.modules() if isinstance(module, ConvBlock)]
    readers = [block.convolution for block in blocks[1:]] + [wide.classifier]
    for block, reader in zip(blocks, readers, strict=True):
        conv, norm = block.convolution, block.norm
        top = conv.weight.flatten(1).norm(dim=1).topk(int(part * len(conv.weight))).indices
        for module, names in ((conv, ["weight", "bias"]), (norm, ["weight", "bias", "running_mean", "running_var"])):
            for name in names:
                tensor = getattr(module, name)
                if tensor is not None:
                    twice = torch.cat([tensor, tensor[top]])
                    setattr(module, name, nn.Parameter(twice) if isinstance(tensor, nn.Parameter) else twice)
        weight = reader.weight.clone()
        weight[:, top] /= 2
        reader.weight = nn.Parameter(torch.cat([weight, weight[:, top]], dim=1))
        conv.out_channels = norm.num_features = len(conv.weight)
        setattr(reader, "in_features" if isinstance(reader, nn.Linear) else "in_channels", reader.weight.shape[1])
    return wide


def planted(name: str, model: nn.Module, data: Images, seed: int) -> Pruned:
    if name != "vgg_mini":
        return
    wide, example = plant(model), data.calibration()[0]
    channels = find_channels(wide, *example)
    removed = sum(int(len(group) / 5) for group in channels.groups if len(group.free) == len(group))

    def without(method: str) -> nn.Module:
        smaller, plan = METHODS[method](wide, channels, batches=data.calibration()).finish(wide, removed)
        cut(smaller, plan)
        return smaller

    for method in ("similarity", "L2, global", "L2, every layer alike", "L1, global", "scale of norms"):
        yield method, "the planted", partial(without, method)


def natural(name: str, model: nn.Module, data: Images, seed: int) -> Pruned:
    for part in (0.7, 0.5):
        for method, make in METHODS.items():
            if method == "L1, global" or (method == "LASSO" and part == 0.5):
                continue  # hardly another order than L2; and the third experiment has it
            make = partial(make, seed=seed) if method == "random" else make
            yield method, f"{part} of multiply-adds", partial(smaller, model, data, part, make)


def smaller(model: nn.Module, data: Images, part: float, make: Callable) -> nn.Module:
    batches = data.calibration()
    return compress(model, batches[0], Budget(macs=part), make, batches, reestimate=False).model


def lasso(name: str, model: nn.Module, data: Images, seed: int) -> Pruned:
    for part in (0.5, 0.25):
        for select in ("lasso", "l1", "random"):
            for least_squares in (True, False):
                shortcuts = (True, False) if name == "resnet_mini" and select == "lasso" and least_squares else (True,)
                for shortcut_error in shortcuts:
                    make = partial(
                        LassoReconstruction,
                        select=select, least_squares=least_squares, shortcut_error=shortcut_error, seed=seed,
                    )  # fmt: skip
                    what = f"{select}, {'least squares' if least_squares else 'none'}"
                    what += "" if shortcut_error else ", shortcut left"
                    yield what, f"{part} of multiply-adds", partial(smaller, model, data, part, make)


EXPERIMENTS = {"planted": planted, "natural": natural, "lasso": lasso}


def measure(model: nn.Module, smaller: nn.Module, data: Images, seed: int, fraction: float) -> dict[str, float]:
    example = data.calibration()[0][0]
    with torch.no_grad():
        wanted, y = model(example), smaller(example)
    row = {"before": data.accuracy(model), "straight": data.accuracy(smaller)}
    row["difference"] = float((y - wanted).abs().max() / wanted.abs().max())
    reestimate_norms(smaller, data.calibration())
    row["reestimated"] = data.accuracy(smaller)
    costs = cost(smaller, example[:1])
    row |= {"macs": costs.macs, "parameters": costs.parameters}
    row |= {f"ms_{n}": milliseconds([smaller], (example[:1].repeat(n, 1, 1, 1),), 0.1)[0] for n in (1, 32)}
    train(smaller, data, fraction, 0.02, seed)
    return row | {"trained": data.accuracy(smaller)}


def main() -> None:
    options = parser(__doc__).parse_args()
    data = Images(1024, 1000) if options.quick else Images()
    rows = Rows(options.folder, FIELDS, FIELDS[:5])
    for seed in options.seeds:
        for name in NETWORKS:
            model = subject(name, seed, data, options.folder, epochs=2 if options.quick else 6)
            for experiment, run in EXPERIMENTS.items():
                for method, budget, pruned in run(name, model, data, seed):
                    key = (experiment, name, seed, method, budget)
                    if key in rows:
                        continue
                    begin = time.perf_counter()
                    found = pruned()
                    seconds = time.perf_counter() - begin
                    row = dict(zip(FIELDS, key, strict=False)) | {"seconds": seconds}
                    rows.add(row | measure(model, found, data, seed, 0.25))


if __name__ == "__main__":
    main()
