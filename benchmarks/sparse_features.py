"""Features that are mostly zeros, sparse or dense: a linear layer of 64 outputs by density, and an epoch of
`recipe=hop_path` on Cora and CiteSeer, whose readout reads its paths put together, where they lie, or sparse.

A layer: forward, gradient of the weight, forward without gradient, as in an epoch. Interleaved, medians.

    MULTIPATH_GCN_DATA=... python benchmarks/sparse_features.py
"""

import copy
from pathlib import Path

import torch
from timing import Clock, heading, interleaved

from multipath_gcn.data import load_planetoid
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.nn.convolve import transform
from multipath_gcn.ops import keep_product
from multipath_gcn.ops.features import compressed
from multipath_gcn.tasks import NodeTask
from multipath_gcn.tasks.hops import with_hops

SHAPES = ((3000, 6000), (20000, 1024), (100000, 256))
DENSITIES = (0.05, 0.1, 0.15, 0.2, 0.3)
OUT = Path(__file__).parent / "results" / "sparse_features"


def main() -> None:
    clock = Clock(torch.device("cpu"))
    lines = heading("Sparse features", "python benchmarks/sparse_features.py")
    lines += ["How many times as long a layer takes with dense features as with sparse ones:", ""]
    lines += [
        "| threads | rows, columns | " + " | ".join(map(str, DENSITIES)) + " |",
        "|---" * (2 + len(DENSITIES)) + "|",
    ]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for rows, columns in SHAPES:
            ratios = [_layer(clock, rows, columns, density) for density in DENSITIES]
            lines.append(f"| {threads} | {rows:,}, {columns:,} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |")
            print(lines[-1], flush=True)
    lines += ["", "An epoch of `recipe=hop_path` with its evaluation, 1 thread, milliseconds:", ""]
    lines += ["| data | density | put together | where they lie | sparse |", "|---" * 5 + "|"]
    torch.set_num_threads(1)
    for name in ("cora", "citeseer"):
        density, times = _epochs(clock, name)
        lines.append(f"| {name} | {density:.3f} | " + " | ".join(f"{1e3 * t:.0f}" for t in times) + " |")
        print(lines[-1], flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "README.md").write_text("\n".join([*lines, ""]))


def _layer(clock: Clock, rows: int, columns: int, density: float) -> float:
    torch.manual_seed(0)
    dense = torch.rand(rows, columns)
    dense[torch.rand(rows, columns) > density] = 0
    weight, grad = torch.randn(64, columns, requires_grad=True), torch.randn(rows, 64)

    def step(x):
        def run():
            transform(x, weight, None, None, None).backward(grad)
            weight.grad = None
            with torch.no_grad():
                transform(x, weight, None, None, None)

        return run

    times = interleaved({"dense": step(dense), "sparse": step(compressed(dense, 1.0))}, clock, seconds=1.0)
    return times["dense"].median / times["sparse"].median


def _epochs(clock: Clock, name: str) -> tuple[float, list[float]]:
    together = NodeTask(load_planetoid(name), hops=3)
    dense = with_hops(together.graph, together.dataset.x, 3)
    sparse = copy.copy(together)
    together.x, sparse.x = dense, compressed(dense, 1.0)
    keep_product(together.graph, dense)  # as the task does for dense features
    torch.manual_seed(0)
    sizes = dense.size(1), 64, together.out_channels
    model = MultiPathGCN(*sizes, stem=0, paths=((64, 64), ()), combine="concat", dropout=0.5)
    watched = copy.deepcopy(model)
    watched.readout.register_forward_hook(lambda *_: None)  # which must be shown the paths put together
    calls = {"together": _epoch(together, watched), "parts": _epoch(together, model), "sparse": _epoch(sparse, model)}
    times = interleaved(calls, clock, seconds=3.0, rounds=(5, 50))
    return (dense != 0).float().mean().item(), [time.median for time in times.values()]


def _epoch(task: NodeTask, model: MultiPathGCN):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def run():
        optimizer.zero_grad()
        task.train_loss(model, epoch=1).backward()
        optimizer.step()
        task.evaluate(model)

    return run


if __name__ == "__main__":
    main()
