"""ResNet34 with grouped 3x3 layers, one image of 224 x 224: the whole network, inference, float32, correctness first.

    python benchmarks/grouped_resnet34.py [--no-compile]

Two networks: 4 channels per group in every 3x3, and 8 groups in every 3x3; the 7x7 stem and the 1x1 shortcuts are
dense. Batch norm is folded into biases for all. Ours is the tree of modules with each convolution packed, its ReLU in
the store (PyTorch's operator still computes the dense ones), in both memory formats; peers are the same tree as it is,
the same compiled with frozen weights (TorchInductor's best), ONNX Runtime and OpenVINO. Every one must first give the
scores of the tree in float64. turns.py says how libraries are kept from disturbing each other. Writes cpu.csv, cpu.json
and cpu.md to --out.
"""

import argparse
import csv
import io
import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import turns

if __name__ == "__main__":
    turns.restart()

import grouped_conv2d_others as others
import grouped_conv2d_peers as peers
import timing
import torch
from torch import Tensor, nn

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels, blocks
GROUPS = {"4 channels per group": lambda channels: channels // 4, "8 groups": lambda channels: 8}
GOALS = {"4 channels per group": 1.3, "8 groups": 0.95}
TOLERANCE = 1e-4  # of the greatest score
MAKERS = {
    "onnxruntime": others.onnxruntime_network,
    "openvino": others.openvino_network,
    "openvino_last": partial(others.openvino_network, last=True),
}
OUT = Path(__file__).parent / "results" / "grouped_resnet34"


class Conv(nn.Conv2d):
    """A convolution with its folded batch norm, and a ReLU or none."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        self.relu = relu
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y.relu_() if self.relu else y


class Packed(nn.Module):
    """What `Conv` computes, by ours, ready for inference."""

    def __init__(self, conv: Conv):
        super().__init__()
        geometry = (conv.stride, conv.padding, conv.dilation, conv.groups)
        bias, activation = conv.bias.detach(), "relu" if conv.relu else None
        self.call = peers.packed(conv.weight.detach(), bias, geometry, activation)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.call(x, residual)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, groups: Callable[[int], int]):
        super().__init__()
        self.first = Conv(inputs, outputs, 3, stride, groups(inputs))
        self.second = Conv(outputs, outputs, 3, groups=groups(outputs), relu=False)
        nn.init.normal_(self.second.weight, std=0.3 * self.second.weight[0].numel() ** -0.5)  # as if trained: 16 add up
        self.shortcut = nn.Identity() if inputs == outputs else Conv(inputs, outputs, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).add_(self.shortcut(x)).relu_()


def network(groups: Callable[[int], int], stages=STAGES, classes: int = 1000) -> nn.Sequential:
    width = stages[0][0]
    layers: list[nn.Module] = [Conv(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for channels, blocks in stages:
        for number in range(blocks):
            stride = 2 if number == 0 and channels != stages[0][0] else 1
            layers.append(Block(width, channels, stride, groups))
            width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)).eval()


class PackedBlock(nn.Module):
    """What `Block` computes, its sum and ReLU in the store of the second convolution."""

    def __init__(self, block: Block):
        super().__init__()
        block.second.relu = True
        self.first, self.second, self.shortcut = (ours_of(child) for child in block.children())

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x), self.shortcut(x))


def ours_of(module: nn.Module) -> nn.Module:
    return Packed(module) if isinstance(module, Conv) else PackedBlock(module) if isinstance(module, Block) else module


def ours(tree: nn.Sequential) -> nn.Sequential:
    """The tree with every convolution packed, the dense ones too: as GroupedConv2d.prepack does it."""
    return nn.Sequential(*map(ours_of, tree)).eval()


def onnx(tree: nn.Module, x: Tensor) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other exporter needs one package more
        torch.onnx.export(tree, (x,), file, dynamo=False, opset_version=17)
    return file.getvalue()


def here(groups: Callable[[int], int], x: Tensor, compile: bool, **sizes) -> dict[str, Callable[[], Tensor]]:
    """Calls of this process; each tree has its own weights, equal ones."""
    found = {}
    for suffix, memory_format in (("", torch.contiguous_format), ("_last", torch.channels_last)):
        image = x.to(memory_format=memory_format)
        forms = {"ours": ours, "torch": lambda tree: tree} | ({"torch_compiled": torch.compile} if compile else {})
        for name, form in forms.items():
            torch.manual_seed(0)
            tree = form(network(groups, **sizes).to(memory_format=memory_format))
            found[name + suffix] = _without_grad(tree, image)
    return found


def _without_grad(tree: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def run():
        with torch.no_grad():
            return tree(x)

    return run


def measure(case: str, libraries: turns.Libraries, threads: int, compile: bool, seconds: float, size=224, **sizes):
    """Times of every way, once it has given the right scores."""
    torch.manual_seed(0)
    tree, x = network(GROUPS[case], **sizes), torch.randn(1, 3, size, size)
    model = onnx(tree, x) if libraries.names else b""
    with torch.no_grad():
        reference = tree.double()(x.double())
    calls = {}
    for name, run in here(GROUPS[case], x, compile, **sizes).items():
        begin = time.perf_counter()
        _check(f"{name}, {case}", run(), reference)
        print(f"{name}: ready in {time.perf_counter() - begin:.1f} s", flush=True)
        calls[name] = turns.Here(run)
    for name in libraries.names:
        library = libraries.get(name, threads)
        call, scores = library.make(case, MAKERS[name], others.values, model, x.numpy())
        _check(f"{name}, {case}", torch.from_numpy(scores), reference)
        calls[name] = call
    return timing.interleaved(calls, turns.clock(), seconds, (9, 25))


def _check(name: str, scores: Tensor, reference: Tensor) -> None:
    error = float((scores.double() - reference).abs().max() / reference.abs().max())
    if not error <= TOLERANCE:
        raise ValueError(f"scores of {name} must be within {TOLERANCE:g} of float64, got {error:.2e}")


def rows_of(case: str, times: dict[str, timing.Times]) -> list[dict]:
    best = min(time.median for name, time in times.items() if name.startswith("ours"))
    rows = []
    for name, time_ in times.items():
        first, median, third = (1e3 * value for value in time_.quartiles)
        rows.append(
            {"network": case, "way": name, "q1": first, "ms": median, "q3": third, "ratio": median / 1e3 / best}
        )
    return rows


def write(rows: list[dict], facts: dict, out: Path) -> str:
    """Tables of all ways; ratio = a way's time over the faster of ours."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "cpu.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (out / "cpu.json").write_text(json.dumps(facts, indent=1) + "\n")
    lines = ["# ResNet34 with grouped 3x3 layers", "", *(f"- {fact}: {value}" for fact, value in facts.items()), ""]
    for case, goal in GOALS.items():
        found = [row for row in rows if row["network"] == case]
        rival = min((row for row in found if not row["way"].startswith("ours")), key=lambda row: row["ms"])
        verdict = "reached" if rival["ratio"] >= goal else "missed"
        lines += [f"{case}: best peer {rival['way']} / ours {rival['ratio']:.2f}, goal {goal}: {verdict}", ""]
    lines += ["| network | way | ms | quartiles | way / ours |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['network']} | {row['way']} | {row['ms']:.2f} | {row['q1']:.2f} - {row['q3']:.2f} "
            f"| {row['ratio']:.2f} |"
        )
    text = "\n".join(lines) + "\n"
    (out / "cpu.md").write_text(text)
    return text


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="with TorchInductor")
    parser.add_argument("--peers", nargs="*", default=list(MAKERS), choices=MAKERS)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each way")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    torch._inductor.config.freezing = True  # weights packed ahead of time
    rows: list[dict] = []
    with turns.Libraries({name: others.MODULES[name] for name in options.peers}) as libraries:
        facts = timing.describe(turns.clock()) | libraries.describe()
        facts["command"] = " ".join(["grouped_resnet34.py", *sys.argv[1:]])
        for fact, value in facts.items():
            print(f"{fact}: {value}", flush=True)
        for case in GROUPS:
            rows += rows_of(case, measure(case, libraries, options.threads, options.compile, options.seconds))
            libraries.clear()
    print(write(rows, facts, options.out))


if __name__ == "__main__":
    main()
