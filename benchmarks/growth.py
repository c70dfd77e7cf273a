"""How propagation, a training epoch and inference within a limit grow with the graph, from 10 k to 2.4 M nodes.

Every size runs in a process of its own, from a CSR written before: time and memory are those of the work alone. The
sizes take turns, several times over, for a machine's memory is not equally fast at all times: medians are reported,
and the lowest and highest.
The largest is of ogbn-products' size (2.45 M nodes, 124 M entries, 100 features, hidden 256, 47 classes) and runs
inference within a stated limit; its whole process must stay within 8 GB.

    python benchmarks/growth.py [--sizes 10000 50000 ...] [--no-products]
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

OUT = Path(__file__).parent / "results" / "growth"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_449_029)
PRODUCTS = {"nodes": 2_449_029, "entries": 123_718_280, "features": 100, "hidden": 256, "classes": 47}
WIDTH, DEGREE, TRAINED = 128, 14, 400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--products", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--limit", default="6 GB", help="of the inference at products' size")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        folders = {nodes: Path(folder) / str(nodes) for nodes in options.sizes}
        for nodes in options.sizes:
            store_csr(folders[nodes], nodes, nodes * DEGREE // 2)
        rounds = [
            [in_a_process("grow", nodes, folders[nodes], options) for nodes in options.sizes]
            for _ in range(options.rounds)
        ]
    rows = [middle(times) for times in zip(*rounds, strict=True)]
    if options.products:
        with tempfile.TemporaryDirectory() as folder:
            store_csr(Path(folder), PRODUCTS["nodes"], PRODUCTS["entries"] // 2)
            rows.append(in_a_process("products", PRODUCTS["nodes"], Path(folder), options))
    OUT.mkdir(parents=True, exist_ok=True)
    write(rows)


def middle(rows: tuple[dict, ...]) -> dict:
    """Of one size in every round."""
    numbers = ("propagate_s", "epoch_s", "epoch_mib")
    row = rows[0] | {key: median(row[key] for row in rows) for key in numbers if key in rows[0]}
    times = [row["propagate_s"] for row in rows]
    return row | {"propagate_least_s": min(times), "propagate_most_s": max(times)}


def in_a_process(worker: str, nodes: int, folder: Path, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--worker", worker, "--folder", str(folder), "--limit", options.limit]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{worker} with {nodes} nodes failed:\n{finished.stderr[-2000:]}")
    row = {"worker": worker, "nodes": nodes} | json.loads(finished.stdout.splitlines()[-1])
    print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return row


def store_csr(folder: Path, nodes: int, edges: int) -> None:
    """A symmetric random graph with loops; degrees follow a power law, hubs lie anywhere."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    weight = (1 - rng.random(nodes)) ** (-1 / 1.5)
    place = np.cumsum(np.minimum(weight, np.sqrt(nodes)))
    ends = (np.searchsorted(place, rng.random(edges) * place[-1]).astype(np.int32) for _ in range(2))
    a, b = (np.minimum(end, nodes - 1) for end in ends)
    loops = np.arange(nodes, dtype=np.int32)
    key = np.concatenate([a, b, loops]).astype(np.int64) * nodes + np.concatenate([b, a, loops])
    del a, b
    key.sort()
    key = key[np.concatenate([[True], key[1:] != key[:-1]])]
    col = (key % nodes).astype(np.int32)
    counts = np.bincount(key // nodes, minlength=nodes)
    np.save(folder / "col.npy", col)
    np.save(folder / "rowptr.npy", np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def load(folder: Path):
    import torch

    from multipath_gcn.graph import Graph

    rowptr, col = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("rowptr", "col"))
    scale = rowptr.diff().double().rsqrt()
    return Graph(rowptr, col, row_scale=scale, col_scale=scale, symmetric=True)


def grow(options: argparse.Namespace) -> dict:
    import torch
    from multipath_epoch import memory_in_use
    from torch.nn import functional as F

    from multipath_gcn.machine import PeakMemory
    from multipath_gcn.nn import MultiPathGCN
    from multipath_gcn.ops import propagate

    graph = load(options.folder)
    nodes = graph.shape[0]
    torch.manual_seed(0)
    x, y = torch.randn(nodes, WIDTH), torch.randint(0, 40, (nodes,))
    propagated = repeated(lambda: propagate(graph, x))
    result = {"entries": graph.num_entries, "propagate_s": propagated}
    if nodes > TRAINED:
        return result
    model = MultiPathGCN(WIDTH, WIDTH, 40, dropout=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = memory_in_use(x.device)
    peak = PeakMemory(x.device)

    def epoch():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x, graph), y).backward()
        optimizer.step()

    return result | {"epoch_s": repeated(epoch), "epoch_mib": peak.peak_mib() - before}


def repeated(call) -> float:
    call()
    begin, times = time.perf_counter(), []
    while len(times) < 3 or (time.perf_counter() - begin < 1.0 and len(times) < 50):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def products(options: argparse.Namespace) -> dict:
    import torch
    from multipath_epoch import memory_in_use

    from multipath_gcn.machine import PeakMemory
    from multipath_gcn.nn import MultiPathGCN

    graph = load(options.folder)
    nodes, features = graph.shape[0], PRODUCTS["features"]
    torch.manual_seed(0)
    x = torch.randn(nodes, features)
    model = MultiPathGCN(features, PRODUCTS["hidden"], PRODUCTS["classes"]).eval()
    before = memory_in_use(x.device)
    peak = PeakMemory(x.device)
    begin = time.perf_counter()
    scores = model.inference(graph, x, memory_limit=options.limit)
    seconds = time.perf_counter() - begin
    whole = peak.peak_mib()
    assert scores.shape == (nodes, PRODUCTS["classes"]) and bool(scores.isfinite().all())
    found = {"entries": graph.num_entries, "inference_s": seconds}
    return found | {"process_mib": whole, "beside_data_mib": whole - before, "limit": options.limit}


WORKERS = {"grow": grow, "products": products}


def write(rows: list[dict]) -> None:
    import torch

    from multipath_gcn.machine import describe

    keys = list(dict.fromkeys(key for row in rows for key in row))
    with open(OUT / "cpu.csv", "w", newline="") as file:
        table = csv.DictWriter(file, keys)
        table.writeheader()
        table.writerows(rows)
    lines = [f"`python benchmarks/growth.py {' '.join(sys.argv[1:])}`".replace(" `", "`"), ""]
    lines += [f"{key}: {value}  " for key, value in describe(torch.device("cpu")).items()]
    lines += [
        "",
        f"Width {WIDTH}.",
        "",
        "| nodes | entries | propagate ms | ns per entry | range | epoch s | ns per entry | MiB | bytes per node |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    grown = [row for row in rows if row["worker"] == "grow"]
    for row in grown:
        entries, time_, epoch = row["entries"], row["propagate_s"], row.get("epoch_s")
        cells = [f"{row['nodes']:,}", f"{entries:,}", f"{time_ * 1e3:.1f}", f"{per_entry(row):.1f}"]
        ends = (row[f"propagate_{end}_s"] / entries * 1e9 for end in ("least", "most"))
        cells.append(", ".join(f"{ns:.1f}" for ns in ends))
        if epoch:
            memory = row["epoch_mib"]
            cells += [
                f"{epoch:.2f}",
                f"{epoch / entries * 1e9:.0f}",
                f"{memory:.0f}",
                f"{memory * 2**20 / row['nodes']:.0f}",
            ]
        lines.append("| " + " | ".join(cells + ["-"] * (9 - len(cells))) + " |")
    cache = last_level_cache()
    large = [row for row in grown if cache and row["nodes"] * WIDTH * 4 > 2 * cache]
    if large:
        spread = max(map(per_entry, large)) / min(map(per_entry, large))
        lines += ["", f"From {large[0]['nodes']:,} nodes on features exceed twice the last-level cache "]
        lines[-1] += f"({cache >> 20} MiB): most over least ns per entry {spread:.2f}."
    for row in rows:
        if row["worker"] == "products":
            lines += [
                "",
                f"Inference at {row['nodes']:,} nodes and {row['entries']:,} entries, limit {row['limit']}: "
                f"{row['inference_s']:.0f} s, {row['beside_data_mib']:.0f} MiB beside the data, "
                f"{row['process_mib']:.0f} MiB the whole process.",
            ]
    (OUT / "cpu.md").write_text("\n".join(lines) + "\n")
    plot(grown)


def per_entry(row: dict) -> float:
    """ns of a propagation"""
    return row["propagate_s"] / row["entries"] * 1e9


def last_level_cache() -> int:
    """Bytes, or 0 where the system does not say."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(size.read_text().strip().removesuffix("K")) * 1024 for size in sizes), default=0)


def plot(rows: list[dict]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    nodes = [row["nodes"] for row in rows]
    left.plot(nodes, [per_entry(row) for row in rows], marker="o", label="propagation")
    trained = [row for row in rows if "epoch_s" in row]
    left.plot(
        [r["nodes"] for r in trained], [r["epoch_s"] / r["entries"] * 1e9 for r in trained], marker="s", label="epoch"
    )
    left.set(xscale="log", yscale="log", xlabel="nodes", ylabel="ns per entry")
    left.legend()
    right.plot([r["nodes"] for r in trained], [r["epoch_mib"] * 2**20 / r["nodes"] for r in trained], marker="s")
    right.set(xscale="log", xlabel="nodes", ylabel="bytes per node, epoch", ylim=(0, None))
    figure.savefig(OUT / "cpu.png", dpi=110)


if __name__ == "__main__":
    main()
