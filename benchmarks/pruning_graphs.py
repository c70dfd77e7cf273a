"""Graph networks on Cora and CiteSeer with fewer hidden channels than they were trained with.

    python benchmarks/pruning_graphs.py [--seeds 10]

MultiPathGCN and PyG's GCN, 64 hidden channels, 100 epochs of Adam on the public split. Each is cut to 1/2 and 1/4 of
its parameters by similarity and magnitude, and trained on for 30 epochs; beside them a network of a quarter of the
width trained from the start, for 130. Test accuracy at the best validation epoch, parameters, seconds of a training
step. Writes benchmarks/results/pruning_graphs.
"""

import argparse
import copy
import csv
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev

import pandas as pd
import timing
import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.nn import GCN

from multipath_gcn.data import load_planetoid
from multipath_gcn.nn import MultiPathGCN
from multipath_gcn.prune import Budget, Similarity, by_magnitude, compress
from multipath_gcn.report import plot_trade_off

OUT = Path(__file__).parent / "results" / "pruning_graphs"
HIDDEN, EPOCHS, MORE = 64, 100, 30
NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "MultiPathGCN": lambda i, h, o: MultiPathGCN(i, h, o, paths=((), (h,)), combine="mean", dropout=0.5),
    "PyG GCN": lambda i, h, o: GCN(i, h, 2, o, dropout=0.5),
}
METHODS = {
    "similarity": Similarity,
    "similarity, moments of data": partial(Similarity, moments="data"),
    "magnitude": by_magnitude,
}


def train(model: nn.Module, data, epochs: int, lr: float = 0.01) -> tuple[float, float]:
    """Test accuracy (%) at the best validation epoch, and the median seconds of an epoch's step."""
    optimizer = torch.optim.Adam(model.parameters(), lr, weight_decay=5e-4)
    best, times = evaluate(model, data), []
    weights = copy.deepcopy(model.state_dict())
    for _ in range(epochs):
        begin = time.perf_counter()
        model.train()
        nodes = data.split["train"]
        loss = F.cross_entropy(model(data.x, data.edge_index)[nodes], data.y[nodes])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - begin)
        now = evaluate(model, data)
        if now[0] > best[0]:
            best, weights = now, copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    return best[1], median(times)


@torch.no_grad()
def evaluate(model: nn.Module, data) -> tuple[float, float]:
    hits = model.eval()(data.x, data.edge_index).argmax(1) == data.y
    return tuple(100 * float(hits[data.split[part]].float().mean()) for part in ("valid", "test"))


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def runs(dataset: str, name: str, seed: int):
    data = load_planetoid(dataset, normalize_features=True)
    inputs = (data.x, data.edge_index)
    make = partial(NETWORKS[name], data.x.size(1), o=data.num_outputs)
    torch.manual_seed(seed)
    model = make(HIDDEN)
    with torch.no_grad():
        model(data.x, data.edge_index)
    score, seconds = train(model, data, EPOCHS)
    facts = {"data": dataset, "network": name, "seed": seed}
    yield facts | {
        "method": "none", "left": 1.0, "parameters": size(model), "straight": score, "trained": score,
        "seconds": seconds,
    }  # fmt: skip
    for left in (0.5, 0.25):
        for method, choose in METHODS.items():
            found = compress(model, inputs, Budget(parameters=left), choose, [inputs]).model
            straight = evaluate(found, data)[1]
            torch.manual_seed(seed)
            score, seconds = train(found, data, MORE)
            yield facts | {
                "method": method, "left": left, "parameters": size(found), "straight": straight, "trained": score,
                "seconds": seconds,
            }  # fmt: skip
    left = 0.25
    torch.manual_seed(seed)
    small = make(max(1, round(HIDDEN * left)))
    score, seconds = train(small, data, EPOCHS + MORE)
    yield facts | {
        "method": "small from the start", "left": left, "parameters": size(small), "straight": score,
        "trained": score, "seconds": seconds,
    }  # fmt: skip


def table(rows: list[dict]) -> list[str]:
    lines = [
        "| data | network | left | method | parameters | straight % | trained % | ms per training step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row["data"], row["network"], row["left"], row["method"]) for row in rows):
        found = [row for row in rows if (row["data"], row["network"], row["left"], row["method"]) == key]
        spread = [
            f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"
            for values in ([row[part] for row in found] for part in ("straight", "trained"))
        ]
        ms = 1e3 * median(row["seconds"] for row in found)
        parameters = round(mean(row["parameters"] for row in found))
        lines.append(f"| {' | '.join(map(str, key))} | {parameters:,} | {' | '.join(spread)} | {ms:.2f} |")
    return lines


def draw(rows: list[dict]) -> list[str]:
    """Accuracy after training over parameters and milliseconds of a training step, a picture for each pair."""
    frame, names = pd.DataFrame(rows), []
    for (data, network), found in frame.groupby(["data", "network"], sort=False):
        whole = found.loc[found.method == "none", "parameters"].mean()
        points = [
            {
                "method": "as trained" if method == "none" else method, "score": part.trained.mean(),
                "score_std": part.trained.std(), "parameters": part.parameters.mean() / whole,
                "ms": 1e3 * part.seconds.median(),
            }
            for (method, _), part in found.groupby(["method", "left"], sort=False)
        ]  # fmt: skip
        names.append(f"{data}-{network.replace(' ', '-')}.png")
        plot_trade_off(pd.DataFrame(points), OUT / names[-1], f"test accuracy (%), {data}, {network}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for dataset in ("cora", "citeseer"):
        for name in NETWORKS:
            for seed in range(options.seeds):
                rows += runs(dataset, name, seed)
                print(dataset, name, seed, flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "cpu.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    command = " ".join(["pruning_graphs.py", *sys.argv[1:]])
    lines = [*timing.heading("Graph networks, pruned", command), *table(rows), ""]
    lines += [f"![{name.removesuffix('.png')}]({name})" for name in draw(rows)]
    (OUT / "cpu.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
