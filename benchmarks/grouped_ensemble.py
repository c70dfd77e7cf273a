"""Eight networks trained as one grouped network, against one after the other: time, and how far members end apart.

    python benchmarks/grouped_ensemble.py

Members begin with seeds of their own and see the same batches. Data: scikit-learn's digits as images and as a graph.
Both ways run by turns; medians. Writes benchmarks/results/grouped_ensemble/cpu.csv.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.data import load_digits
from multipath_gcn.data.digit_images import load_digit_images
from multipath_gcn.graph import Graph
from multipath_gcn.machine import describe
from multipath_gcn.models import GCN, VGG, GroupedEnsemble
from multipath_gcn.nn import DepthwiseSeparableConv2d, MultiPathGCN

SIZE, STEPS, TURNS = 8, 20, 5
RESULTS = Path(__file__).parent / "results/grouped_ensemble"


def mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def cases(dtype: torch.dtype) -> dict:
    """Name to (make, what a step is called with, labels): of images batches, of a graph all nodes."""
    images = load_digit_images().splits["train"]
    x, y = images.batch(torch.arange(len(images))).to(dtype) / 255, images.labels
    digits = load_digits(train_per_class=100)
    graph = Graph.normalized(digits.edge_index, num_nodes=digits.x.size(0))
    train = digits.split["train"]
    batches = [((x[i],), y[i]) for i in torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).split(32)][
        :STEPS
    ]
    whole = [((digits.x.to(dtype), graph), (train, digits.y[train]))] * STEPS
    separable = partial(DepthwiseSeparableConv2d, norm_between=True)
    return {
        "MLP 64-64-64-10, batch 32": (lambda: mlp(64), batches),
        "VGG 8, 16 channels, batch 32": (lambda: VGG(1, 10, stages=((8, 8), (16, 16))), batches),
        "VGG 16, 32 channels, batch 32": (lambda: VGG(1, 10, stages=((16, 16), (32, 32))), batches),
        "separable 16, 32 channels, batch 32": (
            lambda: VGG(1, 10, stages=((16, 16), (32, 32)), convolution=separable),
            batches,
        ),
        "GCN 64-16-10, 1,797 nodes": (lambda: GCN(64, 16, 10, num_layers=1, readout="gcn"), whole),
        "MultiPathGCN 64-16-10, 1,797 nodes": (lambda: MultiPathGCN(64, 16, 10), whole),
    }


def loss(scores: torch.Tensor, labels) -> torch.Tensor:
    nodes, labels = labels if isinstance(labels, tuple) else (slice(None), labels)
    return F.cross_entropy(scores[nodes], labels)


def sum_of_losses(scores: torch.Tensor, labels) -> torch.Tensor:
    """Of the members' mean losses, in one call."""
    nodes, labels = labels if isinstance(labels, tuple) else (slice(None), labels)
    return len(scores) * F.cross_entropy(scores[:, nodes].flatten(0, 1), labels.repeat(len(scores)))


def train(model: nn.Module, batches: list, members: bool) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()
    for inputs, labels in batches:
        optimizer.zero_grad(set_to_none=True)
        scores = model(*inputs)
        (sum_of_losses(scores, labels) if members else loss(scores, labels)).backward()
        optimizer.step()


def made(make, dtype: torch.dtype) -> list[nn.Module]:
    found = []
    for seed in range(SIZE):
        torch.manual_seed(seed)
        found.append(make().to(dtype))
    return found


def measure(make, batches: list, dtype: torch.dtype) -> dict:
    seconds = {"together": [], "alone": []}
    for _ in range(TURNS):
        alone = made(make, dtype)
        ensemble = GroupedEnsemble(alone, *batches[0][0])
        start = time.perf_counter()
        train(ensemble, batches, members=True)
        seconds["together"].append(time.perf_counter() - start)
        start = time.perf_counter()
        for member in alone:
            train(member, batches, members=False)
        seconds["alone"].append(time.perf_counter() - start)
    pairs = zip(ensemble.members(), alone, strict=True)
    apart = max(
        (p - q).abs().max().item() for a, b in pairs for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )
    together, one_by_one = (1e3 * median(seconds[way]) / len(batches) for way in ("together", "alone"))
    return {
        "ms_together": together,
        "ms_alone": one_by_one,
        "speedup": one_by_one / together,
        "largest_difference": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    rows = []
    for name, (make, batches) in cases(torch.float32).items():
        measure(make, batches[:2], torch.float32)
        row = measure(make, batches, torch.float32)
        rows.append({"network": name, "members": SIZE, "threads": torch.get_num_threads()} | row)
        print(
            "{network:38s} {ms_together:7.2f} ms {ms_alone:7.2f} ms {speedup:5.2f} x {largest_difference:.1e}".format(
                **rows[-1]
            )
        )
    RESULTS.mkdir(parents=True, exist_ok=True)
    hardware = describe(torch.device("cpu"))["hardware"]
    pd.DataFrame(rows).assign(hardware=hardware).to_csv(RESULTS / "cpu.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
