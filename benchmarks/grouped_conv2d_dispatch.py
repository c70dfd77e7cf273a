"""Our kernels and PyTorch's operator for outputs, input and weight gradients apart: what plan decides by.

    python benchmarks/grouped_conv2d_dispatch.py --out benchmarks/results/grouped_conv2d_dispatch
    python benchmarks/grouped_conv2d_dispatch.py --device cuda --dtype bfloat16 --out DIR    # against cuDNN

Every 3x3 layer of ResNet34 in 1, 2, 4, ... groups, batches of 1 and 16, both memory formats, on the threads given. One
line each: medians in microseconds, and how many times as long PyTorch's operator takes.
"""

import argparse
import json
import re
from functools import partial
from pathlib import Path

import pandas as pd
import timing
import torch
from grouped_conv2d_cases import layers

from multipath_gcn.conv_geometry import out_size
from multipath_gcn.ops import conv_dispatch
from multipath_gcn.ops.conv_geometry import geometry

FORMATS = {"planar": torch.contiguous_format, "last": torch.channels_last}


def calls(layer, memory_format, device, dtype):
    """Ours and PyTorch's for every place."""
    new = partial(torch.randn, device=device)
    x = new(layer.batch, layer.inputs, layer.height, layer.width).to(dtype)
    x = x.contiguous(memory_format=memory_format)
    weight = new(layer.outputs, layer.inputs // layer.groups, layer.kernel, layer.kernel).to(dtype)
    of = geometry(x, weight, None, layer.stride, layer.padding, 1, layer.groups)
    y = new(layer.batch, layer.outputs, *out_size(x.shape[2:], weight.shape[2:], of)).to(dtype)
    y = y.contiguous(memory_format=memory_format)
    known = {"y": (x, weight), "x": (y, weight), "weight": (y, x)}
    plan = conv_dispatch.own_plan(of, x.shape[2:], weight.shape[2:])
    return {
        (place, way): lambda place=place, way=way: way(place, *known[place], plan)
        for place in known
        for way in (conv_dispatch.ours, conv_dispatch.stock)
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--only", default="", help="layers in whose name this regular expression is found")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.02)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    device = torch.device(args.device)
    clock = timing.Clock(device)
    rows = []
    for layer in layers():
        if layer.family not in ("resnet34", "resnext") or layer.batch not in args.batch:
            continue
        if not re.search(args.only, str(layer)):
            continue
        for name, memory_format in FORMATS.items():
            with torch.no_grad():
                ways = calls(layer, memory_format, device, getattr(torch, args.dtype))
                times = timing.interleaved(ways, clock, seconds=args.seconds, rounds=(3, 15))
            for place in ("y", "x", "weight"):
                ours, stock = (times[place, way].median * 1e6 for way in (conv_dispatch.ours, conv_dispatch.stock))
                rows.append(
                    dict(shape=layer.shape, groups=layer.groups, per_group=layer.per_group, format=name)
                    | dict(place=place, ours=round(ours, 1), torch=round(stock, 1), ratio=round(stock / ours, 3))
                )
                print(*rows[-1].values(), flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.dtype if args.device == "cpu" else f"{args.device}_{args.dtype}"
    if args.device == "cpu" and (vectors := torch.backends.cpu.get_cpu_capability()) != "AVX512":
        name += f"_{vectors.lower()}"
    pd.DataFrame(rows).to_csv(args.out / f"{name}.csv", index=False)
    (args.out / f"{name}.json").write_text(json.dumps(timing.describe(clock), indent=2) + "\n")


if __name__ == "__main__":
    main()
