"""Whole networks of separable convolutions on CIFAR-sized images: inference and a training step, ours and PyTorch's.

    python benchmarks/separable_networks.py [--quick]

Every network with standard convolutions, depthwise-separable ones with dense 1x1 parts, and with sliding windows in 4
groups. Inference: ours is the network packed (`prepack`); PyTorch's the same network of PyTorch's own layers with batch
norms folded in, and as it is, each in both memory formats. Training: forward, backward and SGD step at batch 128, ours
and PyTorch's. All ways of a case are timed in turns, after their results were found to be equal. ratio = a way's time
over the time of our sliding network. Writes cpu.csv and cpu.md.
"""

import argparse
import csv
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import timing
import torch
import turns
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F

from multipath_gcn.models import VGG, MobileNet, ResNet, count_parameters
from multipath_gcn.nn import DepthwiseSeparableConv2d, GroupedConv2d, layer_costs, prepack, to_stock
from multipath_gcn.nn.replace import replaced

OUT = Path(__file__).parent / "results" / "separable_networks"
NETWORKS = {"MobileNet": MobileNet, "VGG16": VGG, "ResNet18": ResNet}
FORMATS = {"": torch.contiguous_format, "_last": torch.channels_last}
SLIDING = {"pointwise": "sliding", "groups": 4, "overlap": 0.5}
GOALS = {
    "inference, batch 1": 1.5,
    "inference, batch 32": 1.5,
    "training, batch 128": 1.3,
}  # MobileNet: dense / sliding


def build(network: str, convolution: str) -> nn.Module:
    between = network == "MobileNet"  # as its authors have it; DSXplore's others have nothing between
    kinds = {
        "standard": GroupedConv2d,
        "dense": partial(DepthwiseSeparableConv2d, norm_between=between),
        "sliding": partial(DepthwiseSeparableConv2d, norm_between=between, **SLIDING),
    }
    torch.manual_seed(0)
    return NETWORKS[network](3, 10, convolution=kinds[convolution])


def folded(model: nn.Module) -> nn.Module:
    """PyTorch's own layers with every batch norm that follows a convolution folded into it, as PyTorch does that."""
    return fuse(to_stock(model.eval()))


def inference(model: nn.Module, images: Tensor) -> dict[str, Callable[[], Tensor]]:
    ways = {"ours": prepack, "torch": lambda m: to_stock(m).eval(), "torch_folded": folded}
    calls = {}
    for name, form in ways.items():
        for suffix, memory_format in FORMATS.items():
            x = images.contiguous(memory_format=memory_format)
            calls[name + suffix] = timing.inference(form(model.eval().to(memory_format=memory_format)), x)
    return calls


def training(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Callable[[], Tensor]]:
    calls = {}
    for name, form in {"ours": lambda m: replaced(m, lambda _: None), "torch": to_stock}.items():
        for suffix, memory_format in FORMATS.items():
            x = images.contiguous(memory_format=memory_format)
            calls[name + suffix] = _stepped(form(model.train()).train().to(memory_format=memory_format), x, labels)
    return calls


def _stepped(model: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


def measure(network: str, case: str, batch: int, seconds: float) -> list[dict]:
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    calls, facts = {}, {}
    for convolution in ("standard", "dense", "sliding"):
        model = build(network, convolution)
        costs = layer_costs(model, images[:1])
        facts[convolution] = {"parameters": count_parameters(model), "macs": sum(cost.macs for cost in costs)}
        made = inference(model, images) if "inference" in case else training(model, images, labels)
        results = {name: [call(), call()] for name, call in made.items()}  # of training, the second loss follows a step
        for name, result in results.items():
            torch.testing.assert_close(
                result, results["torch"], rtol=1e-3, atol=1e-3, msg=f"{network} {convolution} {name}"
            )
            calls[convolution, name] = made[name]
    times = timing.interleaved(calls, timing.Clock(torch.device("cpu")), seconds, (5, 25))
    ours = min(time.median for (kind, way), time in times.items() if kind == "sliding" and way.startswith("ours"))
    rows = []
    for (convolution, way), time in times.items():
        low, middle, high = (1e3 * value for value in time.quartiles)
        row = {"network": network, "case": case, "convolution": convolution, **facts[convolution], "way": way}
        rows.append(row | {"q1": low, "ms": middle, "q3": high, "ratio": middle / 1e3 / ours})
    return rows


def best(rows: list[dict], way: str, **where: str) -> dict:
    fitting = [r for r in rows if r["way"].startswith(way) and all(r[key] == value for key, value in where.items())]
    return min(fitting, key=lambda row: row["ms"])


def write(rows: list[dict], facts: dict, out: Path) -> str:
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "cpu.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    lines = ["# Networks of separable convolutions", "", *(f"- {fact}: {value}" for fact, value in facts.items()), ""]
    lines += ["ms per batch, the better memory format of each; standard, dense, sliding: the convolutions.", ""]
    lines += ["| network | case | convolution | parameters | multiply-adds, M | ours | PyTorch | PyTorch / ours |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for row in rows:
        if row["way"] != "ours":
            continue
        where = {key: row[key] for key in ("network", "case", "convolution")}
        ours, torchs = best(rows, "ours", **where)["ms"], best(rows, "torch", **where)["ms"]
        lines.append(
            f"| {row['network']} | {row['case']} | {row['convolution']} | {row['parameters']:,} "
            f"| {row['macs'] / 1e6:.1f} | {ours:.2f} | {torchs:.2f} | {torchs / ours:.2f} |"
        )
    lines.append("")
    for case, goal in GOALS.items():
        found = [row for row in rows if row["network"] == "MobileNet" and row["case"] == case]
        if found:
            ratio = best(found, "torch", convolution="dense")["ratio"]
            verdict = "reached" if ratio >= goal else "missed"
            lines += [f"MobileNet, {case}: PyTorch's dense / our sliding {ratio:.2f}, goal {goal}: {verdict}", ""]
    text = "\n".join(lines)
    (out / "cpu.md").write_text(text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="MobileNet alone, few rounds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for network in ["MobileNet"] if options.quick else NETWORKS:
        for case in GOALS:
            rows += measure(network, case, int(case.split()[-1]), 0.2 if options.quick else 1.0)
            print(f"{network}, {case}: measured", flush=True)
    facts = timing.describe(timing.Clock(torch.device("cpu"))) | {
        "command": " ".join(["separable_networks.py", *sys.argv[1:]])
    }
    print(write(rows, facts, options.out))


if __name__ == "__main__":
    turns.restart()
    main()
