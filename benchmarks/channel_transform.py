"""Channel transforms against stock PyTorch: the whole grid, correctness first, medians of interleaved rounds.

    python benchmarks/channel_transform.py                     # float32, all shapes: under 40 minutes on 2 CPU cores
    python benchmarks/channel_transform.py --quick             # a representative part: under 3 minutes
    python benchmarks/channel_transform.py --device cuda --dtype bfloat16 --memory-format channels_last

For each shape and number of groups one interleaved run holds ours at every overlap, dense (a), grouped (b), and
scatter (e) once (their work does not depend on the overlap), gather (c) and strided (d) at every overlap. Gather takes
up to 1024 times the input's memory and seconds for what others do in milliseconds: it and strided are left out (empty
cells) where a tensor of windows would exceed 1 GiB, and get fewer rounds than five where those would take more than
one second. A training step is forward and both gradients through autograd, with one random output gradient for all.

Writes NAME.csv (milliseconds), NAME.md (summary and targets) and NAME.png to --out; the columns are explained in
channel_transform_report.py. Memory, alike for all contenders: large tensors use huge pages (THP_MEM_ALLOC_ENABLE=1),
and what is freed is used again, as under tcmalloc or jemalloc, which PyTorch's tuning guide advises (GLIBC_TUNABLES):
glibc alone returns results of 32 MiB and more to the system, which then clears new pages for the next ones. Either is
left alone where it is set already.
"""

import argparse
import os
import re
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read when torch is imported
if __name__ == "__main__" and sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:  # read at the start
    tunables = ("hugetlb=1", "mmap_max=0", f"trim_threshold={2**33}", f"top_pad={2**28}")
    os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{tunable}" for tunable in tunables)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import channel_transform_peers as peers
import pandas as pd
import timing
import torch
from channel_transform_cases import GROUPS, OVERLAPS, QUICK, Inputs, Shape, shapes
from channel_transform_peers import Way
from channel_transform_report import OVERLAP_COST, PEERS, SLOWER, add_figures, plot, summary, write_csv

from multipath_gcn.ops import ChannelWindows

GATHERED_LIMIT = 2**30  # bytes
MEMORY_FROM = 32 * 2**20  # bytes of output: below, pages blur what resident memory tells
DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")} | {
    "tf32": torch.float32
}
Key = tuple[str, float | None]  # contender and overlap; None where its work does not depend on the overlap


def contenders(inputs: Inputs, groups: int, overlaps: list[float], training: bool) -> dict[Key, list[Way]]:
    """Every way to compute the shape with so many groups; several forms where a peer has them."""
    shape = inputs.shape
    limit = GATHERED_LIMIT / (shape.rows * shape.inputs * inputs.x.element_size())
    found: dict[Key, list[Way]] = {}
    for overlap in overlaps:
        own = ChannelWindows.sliding(shape.inputs, shape.outputs, groups, overlap)
        windows = peers.Windows(own, inputs.layout, inputs.device, inputs.dtype)
        found["ours", overlap] = [peers.ours(windows)]
        if overlap == overlaps[0]:
            found["dense", None] = [peers.dense(windows)]
            if groups > 1:  # one group is dense
                found["grouped", None] = peers.grouped(windows)
            found["scatter", None] = [peers.scatter(windows)]
        for name, forms in (("gather", [peers.gather(windows)]), ("strided", peers.strided(windows))):
            if forms[0].gathered[training] <= limit:
                found[name, overlap] = forms
    return found


def checked(found: dict[Key, list[Way]], inputs: Inputs, training: bool, clock: timing.Clock) -> dict[Key, Way]:
    """The fastest form of each contender, once all forms have given the right values."""

    def seconds(way: Way) -> float:
        return clock.pilot(lambda: inputs.step(way, training))

    for key, forms in found.items():
        for way in forms:
            inputs.check(" ".join(map(str, key)), way, training, stock=key[0] != "ours")
    return {key: min(forms, key=seconds) if len(forms) > 1 else forms[0] for key, forms in found.items()}


def timed(
    ways: dict[Key, Way], inputs: Inputs, training: bool, clock: timing.Clock, seconds: float
) -> dict[Key, timing.Times]:
    calls = {key: partial(inputs.step, way, training) for key, way in ways.items()}
    return timing.interleaved(calls, clock, seconds, capped=[key for key in ways if key[0] in ("gather", "strided")])


def measure(
    inputs: Inputs, groups: int, overlaps: list[float], training: bool, clock: timing.Clock, seconds: float
) -> list[dict]:
    """One row per overlap."""
    shape = inputs.shape
    ways = checked(contenders(inputs, groups, overlaps, training), inputs, training, clock)
    times = timed(ways, inputs, training, clock, seconds)
    full = _float32(inputs, groups, overlaps[0], training, clock, seconds)
    rows = []
    for overlap in overlaps:
        row = {"shape": str(shape), "batch": shape.batch, "channels": shape.inputs, "size": shape.size}
        row |= {"filters": shape.outputs, "groups": groups, "overlap": overlap, "dtype": str(inputs.dtype)[6:]}
        row |= {"layout": inputs.layout, "pass": "training" if training else "forward"}
        for name in ("ours", *PEERS):
            one = times.get((name, overlap)) or times.get((name, None))
            quartiles = [1e3 * value for value in one.quartiles] if one else 3 * [float("nan")]
            row |= dict(zip((f"{name}_q1", name, f"{name}_q3"), quartiles, strict=True))
            row[f"{name}_rounds"] = len(one.seconds) if one else 0
        row["float32"] = 1e3 * full.median if full and overlap == overlaps[0] else float("nan")
        row["flops"] = shape.flops(groups, training)
        row["bytes"] = shape.bytes(groups, training, inputs.x.element_size())
        row["extra_mib"] = float("nan")
        if inputs.grad.nbytes >= MEMORY_FROM and (inputs.device.type == "cuda" or sys.platform == "linux"):
            way = ways["ours", overlap]
            inputs.x.grad = way.weight.grad = None
            row["extra_mib"] = timing.extra_memory(partial(inputs.step, way, training), inputs.device)
        rows.append(row)
    return rows


def _float32(inputs: Inputs, groups: int, overlap: float, training: bool, clock: timing.Clock, seconds: float):
    """Ours in float32 where the type measured is a half one."""
    if inputs.x.element_size() != 2:
        return None
    wide = Inputs(inputs.shape, inputs.layout, torch.float32, inputs.device)
    key = ("ours", overlap)
    ways = checked({key: contenders(wide, groups, [overlap], training)[key]}, wide, training, clock)
    return timed(ways, wide, training, clock, seconds)[key]


def run_again(table: pd.DataFrame, cases: dict[str, Shape], make, clock: timing.Clock, seconds: float) -> None:
    """Adds columns `slower` and `overlap_slower`: 1 where more interleaved runs confirm what the first one showed.

    Those are: ours more than 5 % slower than the best peer, and more than 15 % slower than itself at overlap 0.
    """
    behind, costly = table["best_ratio"] < 1 / SLOWER, table["overlap_cost"] > OVERLAP_COST
    table["slower"], table["overlap_slower"] = 0, 0
    for label, rows in table[behind | costly].groupby("shape", sort=False):
        inputs = make(cases[label])
        for index, row in rows.iterrows():
            training, cg, overlap = row["pass"] == "training", row["groups"], row["overlap"]
            found = contenders(inputs, cg, sorted({0.0, overlap}), training)
            ours, best = ("ours", overlap), next(k for k in found if k[0] == row["best"] and k[1] in (None, overlap))
            for asked, column, other, factor in (
                (behind[index], "slower", best, SLOWER),
                (costly[index], "overlap_slower", ("ours", 0.0), OVERLAP_COST),
            ):
                if asked:
                    ways = checked({key: found[key] for key in (ours, other)}, inputs, training, clock)
                    runs = (timed(ways, inputs, training, clock, seconds) for _ in range(3))
                    table.loc[index, column] = int(all(times[ours].slower_than(times[other], factor) for times in runs))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="tf32: float32 with that allowed for all")
    parser.add_argument("--memory-format", default="contiguous", choices=("contiguous", "channels_last"))
    parser.add_argument("--threads", type=int, help="default: PyTorch's")
    parser.add_argument("--quick", action="store_true", help="five shapes, three numbers of groups, three overlaps")
    parser.add_argument("--shapes", help="only labels in which this regular expression is found")
    parser.add_argument("--pass", dest="passes", nargs="+", default=["forward", "training"])
    parser.add_argument("--cg", type=int, nargs="+", help=f"groups, of {GROUPS} by default")
    parser.add_argument("--co", type=float, nargs="+", help=f"overlaps, of {OVERLAPS} by default")
    parser.add_argument("--flush", action="store_true", help="empty the caches before each sample")
    parser.add_argument("--seconds", type=float, default=0.05, help="for each contender at each point")
    parser.add_argument("--no-rerun", action="store_true", help="do not repeat what looks slower than a peer")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "channel_transform")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    device, dtype = torch.device(args.device), DTYPES[args.dtype]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.dtype == "tf32"
    torch.backends.cudnn.benchmark = True
    clock = timing.Clock(device, args.flush)
    last = args.memory_format == "channels_last"
    groups = args.cg or ((1, 2, 8) if args.quick else GROUPS)
    overlaps = args.co or ([0.0, 0.33, 0.5] if args.quick else list(OVERLAPS))
    chosen = [s for s in shapes(last) if not args.quick or str(s) in QUICK]
    chosen = [s for s in chosen if not args.shapes or re.search(args.shapes, str(s))]
    if not chosen:
        raise SystemExit(f"--shapes must be found in a shape's label, got {args.shapes}")

    def make(shape: Shape) -> Inputs:
        torch.manual_seed(0)
        return Inputs(shape, "rows" if not shape.size else "channels_last" if last else "planar", dtype, device)

    begin = time.perf_counter()
    facts = timing.describe(clock) | {"command": " ".join(["channel_transform.py", *sys.argv[1:]])}
    for name, value in facts.items():
        print(f"{name}: {value}", flush=True)
    peak, bandwidth = timing.peak_flops(clock, dtype), timing.bandwidth(clock)
    name = f"{'quick_' if args.quick else ''}{_slug(facts)}_{args.dtype}{'_channels_last' if last else ''}"
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    for number, shape in enumerate(chosen, 1):
        start = time.perf_counter()
        inputs = make(shape)
        new = []
        for cg in groups:
            for which in args.passes:
                new += measure(inputs, cg, overlaps, which == "training", clock, args.seconds)
        rows += new
        some = add_figures(pd.DataFrame(new), peak, bandwidth)
        write_csv(add_figures(pd.DataFrame(rows), peak, bandwidth), facts, args.out / f"{name}.csv")
        medians = ", ".join(
            f"{which}: efficiency {part['efficiency'].median():.2f}, best peer/ours {part['best_ratio'].median():.2f}"
            for which, part in some.groupby("pass", sort=False)
        )
        print(f"[{number}/{len(chosen)}] {shape}  {time.perf_counter() - start:.0f} s  {medians}", flush=True)
    # The machine may have warmed up or slowed down: the better of both ends is what ours is held against.
    peak, bandwidth = max(peak, timing.peak_flops(clock, dtype)), max(bandwidth, timing.bandwidth(clock))
    facts |= {"peak GFLOP/s": round(peak / 1e9, 1), "bandwidth GB/s": round(bandwidth / 1e9, 1)}
    table = add_figures(pd.DataFrame(rows), peak, bandwidth)
    if not args.no_rerun:
        run_again(table, {str(shape): shape for shape in chosen}, make, clock, args.seconds)
    facts["minutes"] = round((time.perf_counter() - begin) / 60, 1)
    write_csv(table, facts, args.out / f"{name}.csv")
    text = summary(table, facts)
    (args.out / f"{name}.md").write_text(text)
    plot(table, facts, args.out / f"{name}.png")
    print(text)


def _slug(facts: dict) -> str:
    if facts["device"] == "cpu":
        return "cpu"
    return re.sub(r"[^a-z0-9]+", "_", facts["hardware"].lower()).strip("_")


if __name__ == "__main__":
    main()
