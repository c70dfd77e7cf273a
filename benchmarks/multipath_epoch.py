"""One training epoch and one inference of the released ogbn-arxiv multipath network on a random graph of that size.

Stem 128 -> 256, paths 256-256-256 and 128-256, 40 classes, dropout 0.5, Adam; 169,343 nodes, 2.3 million edges. Every
variant runs in processes of its own, in turns, so that each is measured in its own environment and memory:
    ours, ours_bf16        MultiPathGCN with a prepared Graph; the second with bfloat16 autocast
    ours_recompute         the first with recompute=True
    pyg_edge_index         the same network of PyG's GCNConv with edge_index, normalised once (cached=True)
    pyg_csr                the same with a normalised torch.sparse CSR adj_t
    pyg_compiled           the first of PyG's, normalised before, under torch.compile
Correctness first: all start from one state dict, and their scores without dropout must agree with ours.

    python benchmarks/multipath_epoch.py [--nodes N] [--rounds R] [--variants ...] [--environment default|pages]
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np

VARIANTS = ("ours", "ours_bf16", "ours_recompute", "pyg_csr", "pyg_edge_index", "pyg_compiled")
CLASSES, FEATURES, HIDDEN = 40, 128, 256
PAGES = {  # huge pages, and memory that is kept between steps, for everybody
    "THP_MEM_ALLOC_ENABLE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:"
    "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456",
}
TOLERANCE = {"ours_bf16": 0.05}
OUT = Path(__file__).parent / "results" / "multipath_epoch"


def main() -> None:
    options = arguments()
    if options.worker:
        print(json.dumps(work(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_problem(Path(folder), options.nodes)
        rows = [run(options, variant, environment, Path(folder)) for variant, environment in turns(options)]
    options.out.mkdir(parents=True, exist_ok=True)
    write(options, rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=169_343)
    parser.add_argument("--rounds", type=int, default=2, help="processes per variant and environment")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs per process, after one to warm up")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--environments", nargs="+", default=["default", "pages"], choices=["default", "pages"])
    parser.add_argument("--name", default="cpu", help="of the files written")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def turns(options):
    for _ in range(options.rounds):
        for environment in options.environments:
            for variant in options.variants:
                yield variant, environment


def make_problem(folder: Path, nodes: int) -> None:
    import torch

    from multipath_gcn.data.sbm import sample_sbm
    from multipath_gcn.nn import MultiPathGCN

    rng = np.random.default_rng(0)
    edges, labels = sample_sbm(nodes, CLASSES, 13.7737, 0.3, 2.5, rng)
    edge_index = torch.as_tensor(np.concatenate([edges, edges[::-1]], axis=1)).unique(dim=1)
    torch.manual_seed(0)
    x = torch.randn(nodes, FEATURES)
    model = MultiPathGCN(FEATURES, HIDDEN, CLASSES, dropout=0.5)
    train = torch.randperm(nodes)[: int(0.537 * nodes)]
    problem = {
        "edge_index": edge_index,
        "x": x,
        "y": torch.as_tensor(labels),
        "train": train,
        "state": model.state_dict(),
    }
    torch.save(problem, folder / "problem.pt")


def run(options: argparse.Namespace, variant: str, environment: str, folder: Path) -> dict:
    command = [sys.executable, __file__, "--worker", variant, "--folder", str(folder), "--device", options.device]
    command += ["--epochs", str(options.epochs)]
    variables = os.environ | (PAGES if environment == "pages" else {})
    finished = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{variant} failed:\n{finished.stderr[-2000:]}")
    row = {"variant": variant, "environment": environment} | json.loads(finished.stdout.splitlines()[-1])
    print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return row


def work(options: argparse.Namespace) -> dict:
    import torch
    from torch.nn import functional as F

    from multipath_gcn.machine import PeakMemory

    device = torch.device(options.device)
    problem = torch.load(options.folder / "problem.pt", weights_only=True, mmap=True)
    x, y, train = (problem[name].clone().to(device) for name in ("x", "y", "train"))
    edge_index = problem["edge_index"].clone().to(device)
    before = memory_in_use(device)
    peak = PeakMemory(device)
    model, graph, setup = build(options.worker, edge_index, x, problem["state"], device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    bf16 = options.worker == "ours_bf16"

    def autocast():
        return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()

    def infer():
        model.eval()
        with torch.no_grad(), autocast():
            return model(x, graph)

    def epoch():
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = F.cross_entropy(model(x, graph)[train].float(), y[train])
        loss.backward()
        optimizer.step()

    difference = compared(options, infer().float())
    epoch()
    trained = [seconds(epoch, device) for _ in range(options.epochs)]
    used = peak.peak_mib() - before
    inferred = [seconds(infer, device) for _ in range(options.epochs)]
    return {
        "epoch_s": median(trained),
        "inference_s": median(inferred),
        "peak_mib": used,
        "setup_s": setup,
        "difference": difference,
    }


def build(variant: str, edge_index, x, state: dict, device):
    import torch

    from multipath_gcn.graph import Graph
    from multipath_gcn.nn import MultiPathGCN
    from multipath_gcn.ops import keep_product

    begin = time.perf_counter()
    if variant.startswith("ours"):
        model = MultiPathGCN(FEATURES, HIDDEN, CLASSES, dropout=0.5, recompute=variant == "ours_recompute")
        graph = Graph.normalized(edge_index, num_nodes=x.size(0))
        keep_product(graph, x)
    else:
        model, graph = pyg_network(normalize=variant == "pyg_edge_index"), edge_index
        if variant != "pyg_edge_index":
            model, graph = PRECOMPUTED[variant](model, edge_index, x.size(0))
    (model.model if hasattr(model, "model") else model).load_state_dict(state)
    model = model.to(device)
    if variant == "pyg_compiled":
        model = torch.compile(model)
    return model, graph, time.perf_counter() - begin


def pyg_network(normalize: bool, sizes=(FEATURES, HIDDEN, CLASSES), stem: int = 1, paths=None, dropout: float = 0.5):
    """MultiPathGCN(*sizes, stem=stem, paths=paths, dropout=dropout) in PyG's layers, under the same names."""
    from torch import nn
    from torch.nn import functional as F
    from torch_geometric.nn import GCNConv, Linear

    def layer(i, o):
        return nn.ModuleDict({"conv": GCNConv(i, o, cached=normalize, normalize=normalize)})

    def stack(i, widths):
        return nn.ModuleList(layer(i, o) for i, o in zip((i, *widths), widths, strict=False))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            features, h, classes = sizes
            self.stem = stack(features, (h,) * stem)
            self.paths = nn.ModuleList(stack(h, widths) for widths in paths or ((h, h, h), (h // 2, h)))
            self.readout = Linear(h, classes)

        def run(self, layers, x, *graph):
            for part in layers:
                x = F.dropout(F.relu(part["conv"](x, *graph)), dropout, self.training)
            return x

        def forward(self, x, graph):
            graph = graph if isinstance(graph, tuple) else (graph,)
            x = self.run(self.stem, x, *graph)
            return self.readout(sum(self.run(path, x, *graph) for path in self.paths))

    return Network()


def _csr(model, edge_index, nodes):
    import torch
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    (source, target), weight = gcn_norm(edge_index, num_nodes=nodes)
    return model, torch.sparse_coo_tensor(torch.stack([target, source]), weight, (nodes, nodes)).to_sparse_csr()


def _weighted(model, edge_index, nodes):
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    return model, gcn_norm(edge_index, num_nodes=nodes)


PRECOMPUTED = {"pyg_csr": _csr, "pyg_compiled": _weighted}


def compared(options: argparse.Namespace, scores) -> float:
    """Greatest difference to the first variant's scores, over their largest; an error where it is too large."""
    import torch

    path = options.folder / "scores.pt"
    if not path.exists():
        torch.save(scores.cpu(), path)
    first = torch.load(path, weights_only=True)
    difference = float((scores.cpu() - first).abs().max() / first.abs().max())
    allowed = TOLERANCE.get(options.worker, 1e-5)
    if not difference <= allowed:
        raise SystemExit(f"{options.worker}: scores differ by {difference:g} of the largest, {allowed:g} are allowed")
    return difference


def seconds(call, device) -> float:
    import torch

    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def memory_in_use(device) -> float:
    import torch

    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 2**10


def write(options: argparse.Namespace, rows: list[dict]) -> None:
    import torch

    from multipath_gcn.machine import describe

    with open(options.out / f"{options.name}.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    lines = [f"`python benchmarks/{Path(__file__).name} {' '.join(sys.argv[1:])}`".replace(" `", "`"), ""]
    lines += [f"{name}: {value}" for name, value in describe(torch.device(options.device)).items()]
    lines += ["", "| variant | environment | epoch s | inference s | peak MiB | epoch, ours = 1 | memory, ours = 1 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    middle = {}
    for variant in options.variants:
        for environment in options.environments:
            found = [row for row in rows if (row["variant"], row["environment"]) == (variant, environment)]
            middle[variant, environment] = {
                key: median(row[key] for row in found) for key in ("epoch_s", "inference_s", "peak_mib")
            }
    for (variant, environment), row in middle.items():
        ours = middle.get(("ours", environment), row)
        ratios = (row[key] / ours[key] for key in ("epoch_s", "peak_mib"))
        cells = f"{row['epoch_s']:.2f} | {row['inference_s']:.2f} | {row['peak_mib']:.0f}"
        lines.append(f"| {variant} | {environment} | {cells} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |")
    (options.out / f"{options.name}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
