"""Grouped 2-d convolution against PyTorch, ONNX Runtime, OpenVINO, ncnn and TVM: correctness first, then medians.

    python benchmarks/grouped_conv2d.py                     # float32, 2 threads, every layer, forward and training
    python benchmarks/grouped_conv2d.py --quick             # a representative part: under 3 minutes
    python benchmarks/grouped_conv2d.py --mode forward --only "resnet34 n1 .* g(32|64)$"

Layers: every 3x3 of ResNet34 in 1, 2, 4, ... C groups and ResNeXt's, batches of 1 and 16, and cases that were reported
to be slow. Forward is inference, with all that can be done to the weights beforehand done; ours and PyTorch also take
training steps: forward and both gradients through autograd. Every way must first give what F.conv2d gives in float64; a
wrong one ends the run. A library that is not installed, or fails on a layer, is named and left out. bfloat16 is
compared with PyTorch only. turns.py says how libraries are kept from disturbing each other.

Writes NAME.csv (milliseconds), NAME.json (machine), NAME.md (goals, tables) and NAME.png to --out; the columns are told
in grouped_conv2d_report.py. Memory, alike for all: huge pages, and what is freed is used again (turns.restart).
"""

import argparse
import re
import sys
import time
from pathlib import Path

import turns

if __name__ == "__main__":
    turns.restart()

import grouped_conv2d_others as others
import grouped_conv2d_peers as peers
import pandas as pd
import timing
import torch
from grouped_conv2d_cases import BATCHES, QUICK, Inputs, Layer, layers
from grouped_conv2d_peers import OURS, TORCH
from grouped_conv2d_report import DEARER, WAYS, add_figures, plot, summary, write

MEMORY_FROM = 8 * 2**20  # bytes of output: below, pages blur what resident memory tells
DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16")}
OUT = Path(__file__).parent / "results" / "grouped_conv2d"


class Bench:
    """What all layers are measured with.

    Args:
        seconds: to spend on each way, as far as the least and greatest number of rounds allow.
    """

    def __init__(self, libraries: turns.Libraries, threads: int, dtype: torch.dtype, seconds: float, rounds):
        self.libraries, self.threads, self.dtype = libraries, threads, dtype
        self.seconds, self.rounds, self.clock = seconds, rounds, turns.clock()
        self.failed: list[str] = []

    def inputs(self, layer: Layer) -> Inputs:
        torch.manual_seed(0)
        torch.set_num_threads(layer.threads or self.threads)
        return Inputs(layer, self.dtype)

    def row(self, inputs: Inputs, training: bool) -> dict:
        layer = inputs.layer
        ways = self.checked(inputs, training)
        calls = {name: turns.Here(way.run) for name, way in ways.items()}
        if not training and self.dtype is torch.float32:
            calls |= self.elsewhere(inputs)
        times = self.times(calls)
        row = {"family": layer.family, "shape": layer.shape, "batch": layer.batch, "channels": layer.inputs}
        row |= {"filters": layer.outputs, "groups": layer.groups, "per_group": layer.per_group}
        row |= {"dtype": str(self.dtype)[6:], "mode": "training" if training else "forward"}
        for name in WAYS:
            quartiles = times[name].quartiles if name in times else 3 * [float("nan")]
            row |= {f"{name}{suffix}": 1e3 * q for suffix, q in zip(("_q1", "", "_q3"), quartiles, strict=True)}
        row["flops"] = layer.flops(training)
        row["allowed_mib"] = _allowed_mib(inputs, layer.threads or self.threads)
        for name in (*OURS, *TORCH):
            row[f"extra_{name}"] = float("nan")
            if inputs.grad.nbytes >= MEMORY_FROM and sys.platform == "linux":
                row[f"extra_{name}"] = timing.extra_memory(ways[name].run, torch.device("cpu"))
        self.libraries.clear()
        return row

    def checked(self, inputs: Inputs, training: bool) -> dict[str, peers.Way]:
        ways = peers.training(inputs) if training else peers.forward(inputs)
        for name, way in ways.items():
            inputs.check(f"{name} on {inputs.layer}", way.run(), way.last, way.stock)
        return ways

    def elsewhere(self, inputs: Inputs) -> dict[str, turns.There]:
        """Calls of the libraries that have processes of their own."""
        layer, found = inputs.layer, {}
        threads = layer.threads or self.threads
        conv = others.Conv(inputs.weight.numpy(), layer.stride, layer.padding, layer.groups)
        for name in self.libraries.names:
            library = self.libraries.get(name, threads)
            try:
                call, y = library.make(name, others.MAKERS[name], others.values, conv, inputs.x.numpy())
            except turns.LibraryError as error:
                self.failed.append(f"{name} on {layer}: {str(error).splitlines()[0]}")
                print(f"left out: {self.failed[-1]}", flush=True)
                self.libraries.drop(name, threads)
                continue
            inputs.check(f"{name} on {layer}", (torch.from_numpy(y).contiguous(),), last=False)
            found[name] = call
        return found

    def times(self, calls: dict) -> dict[str, timing.Times]:
        slow = [name for name in calls if name in others.MODULES]
        return timing.interleaved(calls, self.clock, self.seconds, self.rounds, capped=slow)

    def again(self, table: pd.DataFrame, cases: dict[str, Layer]) -> pd.DataFrame:
        """Adds columns `behind` and `dearer`: 1 where more interleaved runs confirm what the first one showed.

        Those are: slower than PyTorch by more than 5 %, and than ours with half as many groups likewise; the formats
        are the faster ones.
        """
        table = table.assign(behind=0, dearer=0)
        for index, row in table.iterrows():
            training = row["mode"] == "training"
            layer = cases[f"{row['family']} {row['shape']} g{row['groups']}"]
            if row["ratio_torch"] < 1 / DEARER:
                ways = self.checked(self.inputs(layer), training)
                table.loc[index, "behind"] = self.slower([ways[row["ours_best"]], ways[row["torch_best"]]])
            if row["halved"] > DEARER:
                half = cases[f"{row['family']} {row['shape']} g{row['groups'] // 2}"]
                best = ((layer, row["ours_best"]), (half, row["halved_best"]))
                pair = [self.checked(self.inputs(each), training)[name] for each, name in best]
                table.loc[index, "dearer"] = self.slower(pair)
        return table

    def slower(self, pair: list[peers.Way]) -> int:
        """Whether the first of two is slower by more than 5 %, quartiles apart, in each of three runs."""
        calls = dict(enumerate(turns.Here(way.run) for way in pair))
        runs = (self.times(calls) for _ in range(3))
        return int(all(times[0].slower_than(times[1], DEARER) for times in runs))


def _allowed_mib(inputs: Inputs, threads: int) -> float:
    """One packed weight, and one padded group of one image per thread, rows up to a vector wider."""
    layer = inputs.layer
    padded = layer.per_group * (layer.height + 2 * layer.padding) * (layer.width + 2 * layer.padding + 16)
    return (inputs.weight.nbytes + threads * padded * 4) / 2**20


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 layers, few rounds")
    parser.add_argument("--only", help="layers in whose name (family shape gGROUPS) this regular expression is found")
    parser.add_argument("--mode", nargs="+", default=["forward", "training"], choices=("forward", "training"))
    parser.add_argument("--batch", type=int, nargs="+", default=BATCHES, help="of the networks' layers")
    parser.add_argument("--peers", nargs="*", default=list(others.MODULES), choices=others.MODULES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--seconds", type=float, default=0.05, help="for each way on each layer")
    parser.add_argument("--rerun", action=argparse.BooleanOptionalAction, default=True, help="repeat what looks slow")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    chosen = QUICK if options.quick else layers(options.batch)
    chosen = [layer for layer in chosen if not options.only or re.search(options.only, str(layer))]
    if not chosen:
        raise SystemExit(f"--only must be found in a layer's name, got {options.only}")
    begin = time.perf_counter()
    name = f"{'quick_' if options.quick else ''}cpu_{options.dtype}"
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = {peer: others.MODULES[peer] for peer in options.peers}
    rounds = (3, 5) if options.quick else (5, 11)
    with turns.Libraries(wanted if options.dtype == "float32" else {}) as libraries:
        bench = Bench(libraries, options.threads, DTYPES[options.dtype], options.seconds, rounds)
        torch.set_num_threads(options.threads)
        facts = timing.describe(bench.clock) | libraries.describe()
        facts["command"] = " ".join(["grouped_conv2d.py", *sys.argv[1:]])
        for fact, value in facts.items():
            print(f"{fact}: {value}", flush=True)
        rows = []
        for number, layer in enumerate(chosen, 1):
            start = time.perf_counter()
            inputs = bench.inputs(layer)
            new = [bench.row(inputs, mode == "training") for mode in options.mode]
            rows += new
            table = add_figures(pd.DataFrame(rows))
            write(table, facts, options.out / name)
            ratios = ", ".join(
                f"{row['mode']}: {row['best']}/ours {row['ratio']:.2f}, PyTorch/ours {row['ratio_torch']:.2f}"
                for _, row in table.tail(len(new)).iterrows()
            )
            print(f"[{number}/{len(chosen)}] {layer}  {time.perf_counter() - start:.0f} s  {ratios}", flush=True)
        if options.rerun:
            table = bench.again(table, {str(layer): layer for layer in chosen})
        facts |= {"failed": bench.failed or "none", "minutes": round((time.perf_counter() - begin) / 60, 1)}
    write(table, facts, options.out / name)
    text = summary(table, facts)
    (options.out / f"{name}.md").write_text(text)
    plot(table, facts, options.out / f"{name}.png")
    print(text)


if __name__ == "__main__":
    main()
