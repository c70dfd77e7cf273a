"""The image pipeline on CIFAR-10: seconds of the first decode, images per second on one core, memory of the process.

Each figure comes from processes of its own. Decode: from the parquet files into an empty cache. Batches: shuffled
batches of 128 out of the memory-mapped file, cropped, flipped, normalised to float32 in channels-last memory, one
thread; seconds per epoch, and each step alone, interleaved. Memory: the highest resident set (VmHWM) of the process,
imports included; afterwards what of the resident set is anonymous and what is pages of mapped files, which the system
drops when it needs the room.

    MULTIPATH_GCN_DATA=... python benchmarks/image_pipeline.py [--rounds R]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

OUT = Path(__file__).parent / "results" / "image_pipeline"
BATCH = 128
TARGETS = {"decode_s": 60, "images_per_s": 20_000, "peak_mb": 500}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker]()))
        return
    decoded, batched = [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as cache:
            decoded.append(in_a_process("decode", cache))
            batched.append(in_a_process("batches", cache))
    lines = report(middle(decoded), middle(batched))
    print("\n".join(lines))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "cpu.md").write_text("\n".join(lines) + "\n")


def in_a_process(worker: str, cache: str) -> dict:
    command = [sys.executable, __file__, "--worker", worker]
    environment = os.environ | {"MULTIPATH_GCN_CACHE": cache}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{worker} failed:\n{finished.stderr[-2000:]}")
    return json.loads(finished.stdout.splitlines()[-1])


def middle(rounds: list[dict]) -> dict:
    return {key: median(found[key] for found in rounds) for key in rounds[0]}


def load():
    from multipath_gcn.data import load_images

    return load_images(
        "cifar10",
        "uoft-cs/cifar10",
        "cifar10",
        num_classes=10,
        size=(32, 32),
        splits={"train": "train", "test": "test"},
    )


def memory() -> dict:
    lines = map(str.split, Path("/proc/self/status").read_text().splitlines())
    found = {line[0].rstrip(":"): int(line[1]) * 1024 / 1e6 for line in lines if line[0].startswith(("VmHWM", "Rss"))}
    return {"peak_mb": found["VmHWM"], "anonymous_mb": found["RssAnon"], "mapped_mb": found["RssFile"]}


def decode() -> dict:
    begin = time.perf_counter()
    data = load()
    seconds = time.perf_counter() - begin
    return {"decode_s": seconds, "images": sum(map(len, data.splits.values())), **memory()}


def batches() -> dict:
    import torch
    from timing import Clock, interleaved

    from multipath_gcn.data import Augment, Normalize

    torch.set_num_threads(1)
    before = memory()
    begin = time.perf_counter()
    data = load()
    opened = time.perf_counter() - begin
    train, augment, normalize = data.splits["train"], Augment(), Normalize(data.mean, data.std)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        for positions in torch.randperm(len(train), generator=generator).split(BATCH):
            normalize(augment(train.batch(positions), generator))

    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - begin)
    found = memory()  # before what is timed below
    positions = torch.randperm(len(train), generator=generator)[:BATCH]
    images = train.batch(positions)
    calls = {
        "fetch": lambda: train.batch(positions),
        "augment": lambda: augment(images, generator),
        "normalize": lambda: normalize(images),
    }
    steps = interleaved(calls, Clock(torch.device("cpu")), seconds=0.5, rounds=(25, 200))
    return {
        "open_s": opened,
        "images_per_s": len(train) / median(seconds[1:]),
        "first_epoch_images_per_s": len(train) / seconds[0],
        **{f"{name}_ms": times.median * 1e3 for name, times in steps.items()},
        **found,
        "imports_mb": before["peak_mb"],
    }


WORKERS = {"decode": decode, "batches": batches}


def report(decoded: dict, batched: dict) -> list[str]:
    import torch
    from timing import Clock, describe

    def memory_rows(found: dict) -> list[str]:
        parts = (
            f"afterwards {found['anonymous_mb']:.0f} MB anonymous, {found['mapped_mb']:.0f} MB pages of mapped files"
        )
        return [f"| | peak of the process | {found['peak_mb']:.0f} MB; {parts} | < {TARGETS['peak_mb']} MB |"]

    steps = ", ".join(f"{name} {batched[f'{name}_ms']:.2f}" for name in ("fetch", "augment", "normalize"))
    images, rate = f"{decoded['images']:,} images", f"{batched['images_per_s']:,.0f} images/s"
    whole = f"| batches of {BATCH}, one core | fetched, cropped, flipped, normalised"
    lines = [f"`python benchmarks/image_pipeline.py {' '.join(sys.argv[1:])}`".replace(" `", "`"), ""]
    torch.set_num_threads(1)
    lines += [f"{key}: {value}  " for key, value in describe(Clock(torch.device("cpu"))).items()]
    lines += ["", "| | | | target |", "|---|---|---|---|"]
    lines += [
        f"| first load | {images} decoded into the cache | {decoded['decode_s']:.1f} s | < {TARGETS['decode_s']} s |"
    ]
    lines += memory_rows(decoded)
    lines += [f"| later loads | opened, every byte hashed | {batched['open_s']:.2f} s | |"]
    lines += [f"{whole} | {rate} | >= {TARGETS['images_per_s']:,} |"]
    lines += [f"| | the same in the first epoch | {batched['first_epoch_images_per_s']:,.0f} images/s | |"]
    lines += [f"| | ms per batch, each step alone | {steps} | |"]
    lines += memory_rows(batched)
    lines += ["", f"Imports alone, torch above all, take {batched['imports_mb']:.0f} MB."]
    return lines


if __name__ == "__main__":
    main()
