"""Whether half of the multiply-adds is half of the time: latency of pruned networks, and what pruning itself takes.

    python benchmarks/pruning_speed.py [--seconds 1] [--round-to 8]

VGG16 and ResNet50 for 32 x 32 pixels, and PyG's GCN on a random graph and on one of Cora's size, cut to half of their
multiply-adds with the same part of every layer. Inference of both in turns: as they are and packed; on edge_index, and
on a sparse matrix that was normalised once. The GCN also to half of its milliseconds. Then the time of find_channels
and verify on ResNet50, and time and memory of the LASSO path of VGG16 with 512 images. Writes
benchmarks/results/pruning_speed.
"""

import argparse
import copy
import csv
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timing
import torch
from torch import nn
from torch_geometric.nn import GCN

from multipath_gcn.models import VGG, ResNet
from multipath_gcn.nn import prepack
from multipath_gcn.prune import Budget, LassoReconstruction, by_chance, compress, find_channels, verify

OUT = Path(__file__).parent / "results" / "pruning_speed"


def images(count: int) -> tuple[torch.Tensor]:
    return (torch.randn(count, 3, 32, 32).contiguous(memory_format=torch.channels_last),)


def graph(nodes: int, edges: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(nodes, channels), torch.randint(nodes, (2, edges))


def on_images(model: nn.Module, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    return {"as it is": timing.inference(model, x), "packed": timing.inference(prepack(model), x)}


def on_edges(model: nn.Module, x: torch.Tensor, edge_index: torch.Tensor) -> dict[str, Callable[[], object]]:
    cached = copy.deepcopy(model)
    for conv in cached.convs:
        conv.cached = True
    ones = torch.ones(edge_index.size(1))
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), ones, (len(x), len(x))).coalesce().to_sparse_csr()
    return {"edge_index": timing.inference(model, x, edge_index), "matrix": timing.inference(cached, x, matrix)}


NETWORKS = {  # network, inputs, calls, batch sizes, budget
    "VGG16": (lambda: VGG(3, 10, 16), images, on_images, (1, 32), {"macs": 0.5}),
    "ResNet50": (lambda: ResNet(3, 10, 50), images, on_images, (1, 32), {"macs": 0.5}),
    "PyG GCN, 3 layers, 20k nodes": (
        lambda: GCN(128, 256, 3, 40), lambda n: graph(20_000, 200_000, 128), on_edges, (1,), {"macs": 0.5}
    ),
    "PyG GCN, 3 layers, 20k nodes, half of its ms": (
        lambda: GCN(128, 256, 3, 40), lambda n: graph(20_000, 200_000, 128), on_edges, (1,), {"latency": 0.5}
    ),
    "PyG GCN, 2 layers, Cora's size": (
        lambda: GCN(1433, 256, 2, 7), lambda n: graph(2_708, 10_556, 1433), on_edges, (1,), {"macs": 0.5}
    ),
}  # fmt: skip


def latencies(name: str, round_to: int, seconds: float) -> list[dict]:
    make, inputs, ways, sizes, limits = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    if ways is on_images:
        model = model.to(memory_format=torch.channels_last)
    found = compress(model, inputs(1), Budget(**limits, round_to=round_to), by_chance)
    macs, rows = found.after.macs / found.before.macs, []
    for size in sizes:
        batch = inputs(size)
        networks = {"before": model, "after": found.model.eval()}
        calls = {(when, way): call for when, m in networks.items() for way, call in ways(m, *batch).items()}
        times = timing.interleaved(calls, timing.Clock(torch.device("cpu")), seconds, (9, 50))
        for way in dict.fromkeys(way for _, way in calls):
            before, after = (times[when, way].median for when in ("before", "after"))
            rows.append(
                {
                    "network": name, "batch": size, "way": way, "macs_left": macs, "ms_before": 1e3 * before,
                    "ms_after": 1e3 * after, "time_left": after / before,
                    "share": (1 - after / before) / (1 - macs),
                }
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def planning() -> dict[str, float]:
    torch.manual_seed(0)
    model, x = ResNet(3, 10, 50).eval(), images(2)
    begin = time.perf_counter()
    channels = find_channels(model, *x)
    found = time.perf_counter() - begin
    plan = channels.plan_units({group.name: group.free[::2].tolist() for group in channels.groups})
    begin = time.perf_counter()
    difference = verify(model, plan, *x).difference
    return {"find_channels": found, "verify": time.perf_counter() - begin, "difference": difference}


def lasso() -> dict[str, float]:
    torch.manual_seed(0)
    model = VGG(3, 10, 16).eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    batches = [(torch.randn(64, 3, 32, 32),) for _ in range(8)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    compress(model, batches[0], Budget(macs=0.5), LassoReconstruction, batches)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": time.perf_counter() - begin, "peak_gib": peak / 2**20, "before_gib": before / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--round-to", type=int, default=8)
    options = parser.parse_args()
    path = lasso()  # first: its peak of memory is that of the process
    rows = [row for name in NETWORKS for row in latencies(name, options.round_to, options.seconds)]
    plans = planning()
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "cpu.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    lines = timing.heading("Half of the multiply-adds", " ".join(["pruning_speed.py", *sys.argv[1:]]))
    lines += [
        f"ResNet50: channels found in {plans['find_channels']:.1f} s, a plan verified in {plans['verify']:.1f} s, "
        f"largest difference {plans['difference']:.1e}. LASSO path of VGG16, 512 images: {path['seconds']:.0f} s, "
        f"{path['peak_gib']:.2f} GiB at the peak, of which {path['before_gib']:.2f} before it.",
        "",
        "Share: part of the time saved over part of the multiply-adds saved.",
        "",
        "| network | batch | way | multiply-adds left | ms before | ms after | time left | share |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['network']} | {row['batch']} | {row['way']} | {row['macs_left']:.3f} | {row['ms_before']:.2f} | "
            f"{row['ms_after']:.2f} | {row['time_left']:.3f} | {row['share']:.2f} |"
        )
    text = "\n".join(lines) + "\n"
    (OUT / "cpu.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
