"""One propagation over a random graph of ogbn-arxiv's size, forward and backward, against what PyTorch and PyG have.

Correctness first: every way must give the product of a float64 reference. All are timed in one run, interleaved; run it
once as it is and once with --pages, which has the process use huge pages and keep its memory, for every peer alike.

    python benchmarks/propagation.py [--nodes N] [--pages] [--device cuda]
"""

import argparse
import csv
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from multipath_epoch import PAGES
from timing import Clock, bandwidth, describe, extra_memory, interleaved
from torch_geometric import EdgeIndex
from torch_geometric.nn import GCNConv
from torch_geometric.utils import scatter

from multipath_gcn.data.sbm import sample_sbm
from multipath_gcn.graph import Graph
from multipath_gcn.ops import propagate

OUT = Path(__file__).parent / "results" / "propagation"
WIDTHS = (64, 128, 256)


def main() -> None:
    options = arguments()
    if options.pages and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | PAGES)
    warnings.filterwarnings("ignore", message="Sparse")
    device = torch.device(options.device)
    clock = Clock(device)
    graph, peers = make(options.nodes, device)
    rows = []
    for width in WIDTHS:
        x = torch.randn(options.nodes, width, device=device, requires_grad=True)
        check(graph, peers, x)
        for step, calls in (("forward", forward(peers, x)), ("backward", backward(peers, x))):
            times = interleaved(calls, clock, seconds=options.seconds, rounds=(5, 15))
            for name, time in times.items():
                gathered = graph.num_entries * (width * x.element_size() + 4)
                rows.append(
                    {
                        "step": step,
                        "width": width,
                        "peer": name,
                        "ms": time.median * 1e3,
                        "ratio": time.median / times["ours"].median,
                        "gathered_gb_s": gathered / time.median / 1e9,
                        "extra_mib": extra_memory(calls[name], device),
                    }
                )
                print({k: round(v, 2) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    write(options, rows, graph, bandwidth(clock), describe(clock))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=169_343)
    parser.add_argument("--seconds", type=float, default=1.0, help="to spend on each call")
    parser.add_argument("--pages", action="store_true", help="huge pages, and memory that is kept")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def make(nodes: int, device: torch.device):
    edges, _ = sample_sbm(nodes, 40, 13.7737, 0.3, 2.5, np.random.default_rng(0))
    edge_index = torch.as_tensor(np.concatenate([edges, edges[::-1]], axis=1)).unique(dim=1)
    graph = Graph.normalized(edge_index, num_nodes=nodes).to(device)
    row, col, value = graph.row, graph.col.long(), graph.value.float()
    matrix = graph.csr(torch.float32)
    index = EdgeIndex(torch.stack([col, row]), sparse_size=(nodes, nodes), sort_order="col", is_undirected=True)
    index.fill_cache_()
    decomposed = GCNConv(1, 1, decomposed_layers=4).to(device)
    edges = torch.stack([col, row])
    peers = {
        "ours": lambda x: propagate(graph, x),
        "torch.sparse.mm": lambda x: torch.sparse.mm(matrix, x),
        "EdgeIndex.matmul": lambda x: index.matmul(x, value, reduce="sum", transpose=True),
        "gather-scatter": lambda x: scatter(value[:, None] * x[col], row, dim_size=nodes, reduce="sum"),
        "PyG decomposed_layers=4": lambda x: decomposed.propagate(edges, x=x, edge_weight=value),
    }
    if device.type == "cpu":
        peers["torch.sparse.mm reduce"] = lambda x: torch.sparse.mm(matrix, x, "sum")
    try:
        from torch_scatter import segment_csr
    except ImportError:
        print("torch-scatter is not installed: left out", flush=True)
    else:
        rowptr = graph.rowptr.long()
        peers["torch-scatter"] = lambda x: segment_csr(value[:, None] * x[col], rowptr, reduce="sum")
    return graph, peers


def check(graph: Graph, peers, x) -> None:
    exact = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    step = 2**18
    row, col, value = graph.row, graph.col.long(), graph.value.double()
    for begin in range(0, graph.num_entries, step):
        part = slice(begin, begin + step)
        exact.index_add_(0, row[part], value[part, None] * x.detach().double()[col[part]])
    for name, call in peers.items():
        with torch.no_grad():
            torch.testing.assert_close(call(x).double(), exact, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def forward(peers, x):
    def without_grad(call):
        def run():
            with torch.no_grad():
                return (call(x),)

        return run

    return {name: without_grad(call) for name, call in peers.items()}


def backward(peers, x):
    grad = torch.randn_like(x)

    def of(call):
        y = call(x)
        return lambda: torch.autograd.grad(y, x, grad, retain_graph=True)

    return {name: of(call) for name, call in peers.items()}


def write(options, rows: list[dict], graph: Graph, speed: float, machine: dict) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    name = f"{options.device}_{'pages' if options.pages else 'default'}"
    with open(options.out / f"{name}.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    lines = [f"`python benchmarks/propagation.py {' '.join(sys.argv[1:])}`".replace(" `", "`"), ""]
    lines += [f"{key}: {value}  " for key, value in machine.items()]
    lines += [f"copy: {speed / 1e9:.1f} GB/s  ", f"graph: {graph!r}", ""]
    lines += ["| step | width | peer | ms | times ours | gathered GB/s | extra MiB |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        numbers = f"{row['ms']:.1f} | {row['ratio']:.2f} | {row['gathered_gb_s']:.1f} | {row['extra_mib']:.0f}"
        lines.append(f"| {row['step']} | {row['width']} | {row['peer']} | {numbers} |")
    (options.out / f"{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
