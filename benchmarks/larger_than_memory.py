"""Training on a graph several times as large as the memory that the process may take: peak memory, bytes and rates.

Writes a synthetic graph in the layout of ogbn-papers100M (8 million nodes, 128 features, 32 million edges; nodes of a
community stand together), unpacks and partitions it, and trains the multipath network for an epoch, each in a process
of its own whose peak is read from the system. Needs 16 GB of disk.

    python benchmarks/larger_than_memory.py FOLDER [--nodes 8000000] [--memory-mib 1200]
"""

import argparse
import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from timing import heading

OUT = Path(__file__).parent / "results" / "larger_than_memory"
FEATURES, CLASSES, DEGREE, COMMUNITY, CHUNK = 128, 172, 8, 8000, 1 << 20
PARTS, BATCH = 1024, 8
PREPARE = f"""
import sys
from multipath_gcn.data import load_binary, partitioned
partitioned(load_binary(sys.argv[1], "communities", {CLASSES}, synthetic=True), {PARTS}, "contiguous")
"""

READ = f"""
import sys, torch
from multipath_gcn.data import load_binary, partitioned
graph = partitioned(load_binary(sys.argv[1], "communities", {CLASSES}, synthetic=True), {PARTS}, "contiguous")
for parts in torch.arange({PARTS}).view(-1, {BATCH}):
    graph.read(parts)
"""
NOTHING = READ.split("for parts")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="exists; where files go, the raw graph is used again")
    parser.add_argument("--nodes", type=int, default=8_000_000, metavar="N")
    parser.add_argument("--memory-mib", type=float, default=1200.0, metavar="MIB")
    options = parser.parse_args()
    raw = options.folder / f"raw-{options.nodes}"
    if not raw.exists():
        begun = Path(tempfile.mkdtemp(dir=options.folder))
        write(begun, options.nodes)
        begun.rename(raw)
    cache = Path(tempfile.mkdtemp(dir=options.folder, prefix="cache-"))  # empty: unpacking and cutting are measured
    os.environ["MULTIPATH_GCN_CACHE"] = str(cache)
    rows = [("unpack and partition", *measured([sys.executable, "-c", PREPARE, str(raw)]))]
    run = options.folder / f"run-{time.time():.0f}"
    train = [sys.executable, "-m", "multipath_gcn", "task=clusters", "data=binary", f"data.folder={raw}"]
    train += ["data.name=communities", f"data.num_classes={CLASSES}", "data.synthetic=true", "task.method=contiguous"]
    train += [f"task.parts={PARTS}", f"task.batch={BATCH}", f"task.memory_mib={options.memory_mib:g}"]
    train += ["model=paper_arxiv", "hidden_channels=64", "model.dropout=0.0", "fit.epochs=1", f"hydra.run.dir={run}"]
    rows.append(("an epoch: training and evaluation", *measured(train)))
    rows.append(("start, without reading", *measured([sys.executable, "-c", NOTHING, str(raw)])))
    rows.append(("reading every subgraph once", *measured([sys.executable, "-c", READ, str(raw)])))
    report(options, rows, json.loads((run / "result.json").read_text()), cache)
    shutil.rmtree(cache)


def report(options: argparse.Namespace, rows: list, result: dict, cache: Path) -> None:
    (folder,) = (cache / "partitioned").glob("communities-*")
    sizes = {path.name: path.stat().st_size / 2**20 for path in folder.iterdir()}
    graph = sizes["x.npy"] + sizes["col.bin"] + sizes["rowptr.npy"] + sizes["y.npy"]
    seconds = result["timing"]["seconds"]
    reading = rows[3][1] - rows[2][1]
    arguments = f"FOLDER --nodes {options.nodes} --memory-mib {options.memory_mib:g}"
    lines = heading("A graph larger than memory", f"python benchmarks/larger_than_memory.py {arguments}")
    lines += [
        f"{options.nodes:,} nodes, {PARTS} parts, {BATCH} a subgraph. The graph is {graph:.0f} MiB (features "
        f"{sizes['x.npy']:.0f}, edges {sizes['col.bin']:.0f}), **{graph / options.memory_mib:.1f} times** the "
        f"{options.memory_mib:g} MiB of `task.memory_mib`.",
        "",
        "| process | s | peak memory, MiB |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {time:.0f} | {peak:.0f} |" for name, time, peak in rows]
    lines += [
        "",
        f"The epoch took {seconds:.1f} s, {2 * options.nodes / seconds:,.0f} nodes a second (training reads every node "
        f"once, evaluation again). Reading subgraphs alone takes {reading:.1f} s, {graph / reading:.0f} MiB a second "
        f"from files that the system may have cached. Test score {100 * result['test']:.1f} % after it.",
    ]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def measured(command: list[str]) -> tuple[float, float]:
    """(seconds, peak MiB) of a process of its own.

    The peak is looked up while it runs: what the system counts at its end begins with this process's own, which it is
    forked from.
    """
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command)
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max([peak, *(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} has failed")
    return time.perf_counter() - start, peak


def write(folder: Path, nodes: int) -> None:
    """Most neighbours in one's own community of consecutive ids, features around the mean of a class."""
    (folder / "raw").mkdir(parents=True)
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((CLASSES, FEATURES), np.float32)

    def labels(start: int, end: int) -> np.ndarray:
        return np.arange(start, end) // COMMUNITY % CLASSES

    def features(start: int, end: int) -> np.ndarray:
        return rng.standard_normal((end - start, FEATURES), np.float32) + 0.3 * mean[labels(start, end)]

    def ends(start: int, end: int, source: bool) -> np.ndarray:
        """Of the edges start ... end; the targets are drawn around the sources."""
        one = np.arange(start, end) // (DEGREE // 2)
        if source:
            return one
        home = one // COMMUNITY * COMMUNITY
        near = np.minimum(home + rng.integers(0, COMMUNITY, one.size), nodes - 1)
        return np.where(rng.random(one.size) < 0.8, near, rng.integers(0, nodes, one.size))

    edges = nodes * DEGREE // 2
    with zipfile.ZipFile(folder / "raw/data.npz", "w", zipfile.ZIP_STORED) as archive:
        with member(archive, "edge_index", np.int64, (2, edges)) as file:
            for source in (True, False):
                for start in range(0, edges, CHUNK):
                    file.write(ends(start, min(start + CHUNK, edges), source).astype(np.int64).tobytes())
        with member(archive, "node_feat", np.float32, (nodes, FEATURES)) as file:
            for start in range(0, nodes, CHUNK):
                file.write(features(start, min(start + CHUNK, nodes)).tobytes())
    with (
        zipfile.ZipFile(folder / "raw/node-label.npz", "w", zipfile.ZIP_STORED) as archive,
        member(archive, "node_label", np.float32, (nodes, 1)) as file,
    ):
        file.write(labels(0, nodes).astype(np.float32).tobytes())
    (folder / "split/time").mkdir(parents=True)
    drawn = rng.permutation(nodes)[: nodes // 10]
    for part, ids in zip(("train", "valid", "test"), np.split(drawn, [nodes // 20, nodes // 13]), strict=True):
        with gzip.open(folder / f"split/time/{part}.csv.gz", "wt", compresslevel=1) as file:
            file.write("\n".join(map(str, ids)) + "\n")


def member(archive: zipfile.ZipFile, name: str, dtype: type, shape: tuple[int, ...]):
    """An array of an .npz, its header written, open for its values."""
    file = archive.open(f"{name}.npy", "w", force_zip64=True)
    facts = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file


if __name__ == "__main__":
    main()
