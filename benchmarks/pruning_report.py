"""Tables and pictures from what benchmarks/pruning.py measured.

    python benchmarks/pruning_report.py FOLDER

FOLDER holds rows.csv and the trained networks. Writes benchmarks/results/pruning: rows.csv as it is, cpu.md with means
and deviations over seeds and paired differences, accuracy over multiply-adds and milliseconds, and the layers that
three methods leave of the first VGG. The networks of seed 0 are pruned again and timed in turns: what rows.csv has of
milliseconds was taken alone, on a machine whose speed changes within minutes.
"""

import argparse
import shutil
from pathlib import Path
from statistics import mean, stdev

import pandas as pd
import timing
import torch
from pruning import EXPERIMENTS, METHODS
from pruning_subjects import NETWORKS, subject
from small_images import TEST, TRAIN, Images

from multipath_gcn.prune import Budget, compress, cost, layer_changes
from multipath_gcn.report import layer_table, paired_difference, plot_channels, plot_trade_off

OUT = Path(__file__).parent / "results" / "pruning"
MOMENTS = {"straight": "straight after", "reestimated": "norms counted again", "trained": "after ¼ epoch"}
TITLES = {
    "planted": "Planted duplicates: a quarter of all filters twice, then as many removed",
    "natural": "Trained networks at 0.7 and 0.5 of their multiply-adds",
    "lasso": "Choice of channels and reconstruction at 1/2 and 1/4 of multiply-adds",
}
RIVAL = {"natural": ("L2, global", "L2, every layer alike"), "lasso": ("l1, none",)}
SHOWN = ("similarity", "LASSO", "L2, global")


def spread(values: list[float], digits: int = 1) -> str:
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def table(rows: pd.DataFrame) -> list[str]:
    heads = ["network", "budget", "method", "before", *MOMENTS.values(), "output", "MACs", "parameters"]
    heads += ["ms at 1", "ms at 32", "s to prune"]
    lines = [f"| {' | '.join(heads)} |", "|---" * 3 + "|---:" * (len(heads) - 3) + "|"]
    for (network, budget, method), found in rows.groupby(["network", "budget", "method"], sort=False):
        cells = [network, budget, method, spread(list(found.before))]
        cells += [spread(list(found[name])) for name in MOMENTS]
        cells += [
            f"{found.difference.max():.1e}",
            f"{found.macs.mean() / 1e6:.2f} M",
            f"{found.parameters.mean():,.0f}",
        ]
        cells += [f"{found[name].median():.2f}" for name in ("ms_1", "ms_32")] + [f"{found.seconds.median():.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def joined(rows: pd.DataFrame) -> pd.DataFrame:
    """LASSO with least squares was measured once, in the third experiment; it belongs into the second, too."""
    theirs = rows[(rows.experiment == "lasso") & (rows.method == "lasso, least squares")]
    return pd.concat([rows, theirs.assign(experiment="natural", method="LASSO")])


def differences(rows: pd.DataFrame, rivals: tuple[str, ...]) -> list[str]:
    """Every method minus each rival, paired by seed."""
    lines = ["| network | budget | method | minus | " + " | ".join(MOMENTS.values()) + " |"]
    lines.append("|---|---|---|---|" + "---:|" * len(MOMENTS))
    for (network, budget), found in rows.groupby(["network", "budget"], sort=False):
        by_method = {method: part.set_index("seed") for method, part in found.groupby("method", sort=False)}
        for rival in rivals:
            for method, part in by_method.items():
                both = part.index.intersection(by_method[rival].index) if rival in by_method else ()
                if method in rivals or len(both) < 2:
                    continue
                cells = []
                for name in MOMENTS:
                    middle, low, high = paired_difference(
                        part.loc[both, name].tolist(), by_method[rival].loc[both, name].tolist()
                    )
                    cells.append(f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]")
                lines.append(f"| {network} | {budget} | {method} | {rival} | {' | '.join(cells)} |")
    return lines


def in_turns(network: str, folder: Path, data: Images) -> dict[tuple[str, str, str], dict[str, float]]:
    """Milliseconds of the network of seed 0, as trained ("", "", ""), and by experiment, method and budget."""
    model = subject(network, 0, data, folder)
    networks = {("", "", ""): model}
    for experiment, run in EXPERIMENTS.items():
        networks |= {(experiment, method, budget): make() for method, budget, make in run(network, model, data, 0)}
    found: dict[tuple, dict[str, float]] = {key: {} for key in networks}
    for n in (1, 32):
        x = torch.randn(n, 3, 16, 16).contiguous(memory_format=torch.channels_last)
        calls = {key: timing.inference(smaller.eval(), x) for key, smaller in networks.items()}
        times = timing.interleaved(calls, timing.Clock(torch.device("cpu")), 0.3, (9, 50))
        for key in networks:
            found[key][f"ms_{n}"] = 1e3 * times[key].median
    return found


def macs(network: str) -> int:
    return cost(NETWORKS[network](), torch.randn(1, 3, 16, 16)).macs


def draw(rows: pd.DataFrame) -> None:
    """Straight after pruning and after training."""
    for network, found in rows[rows.experiment == "natural"].groupby("network"):
        whole = macs(network)
        for name in ("straight", "trained"):
            points = [
                {
                    "method": method, "macs": part.macs.mean() / whole, "score": part[name].mean(),
                    "score_std": part[name].std(), "ms_1": part.ms_1.median(), "ms_32": part.ms_32.median(),
                }
                for (method, _), part in found.groupby(["method", "budget"], sort=False)
            ]  # fmt: skip
            label = f"test accuracy (%), {MOMENTS[name]}"
            plot_trade_off(pd.DataFrame(points), OUT / f"{network}-{name}.png", label)


def layers(folder: Path, data: Images) -> list[str]:
    """What methods leave of the layers of the first VGG at half of the multiply-adds."""
    lines = []
    model = subject("vgg_mini", 0, data, folder)
    for method in SHOWN:
        batches = data.calibration()
        found = compress(model, batches[0], Budget(macs=0.5), METHODS[method], batches)
        changes = layer_changes(model, found.model, batches[0][0])
        name = f"layers-{method.split(',')[0].lower()}.png"
        plot_channels(changes, OUT / name)
        lines += [f"### {method}", "", layer_table(changes), f"![channels left]({name})", ""]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    rows = pd.read_csv(folder / "rows.csv")
    OUT.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "rows.csv", OUT / "rows.csv")
    data = Images()
    whole_ms = {}
    for network in rows.network.unique():
        times = in_turns(network, folder, data)
        whole_ms[network] = times["", "", ""]
        for name in ("ms_1", "ms_32"):
            at = rows.network == network
            keys = zip(rows.experiment[at], rows.method[at], rows.budget[at], strict=True)
            rows.loc[at, name] = [times[key][name] for key in keys]
    rows = joined(rows)
    lines = timing.heading("Pruning on CIFAR-10", "pruning.py FOLDER; pruning_report.py FOLDER")
    lines += [
        f"16 x 16 pixels, {TRAIN:,} training and {TEST:,} test images, 512 for calibration, seeds "
        f"{', '.join(map(str, sorted(rows.seed.unique())))}. Test accuracy in %, mean ± deviation over seeds; output: "
        "largest difference from the outputs before, over the largest output. Milliseconds: seed 0, in turns. "
        "Differences: 95 % Student intervals.",
    ]
    for network in rows.network.unique():
        ms = whole_ms[network]
        lines += [
            "", f"{network} as trained: {macs(network) / 1e6:.2f} M multiply-adds, "
            f"{sum(p.numel() for p in NETWORKS[network]().parameters()):,} parameters, {ms['ms_1']:.2f} ms at batch 1, "
            f"{ms['ms_32']:.2f} at 32. The shortcut-error term was left out of LASSO with least squares only, and is "
            "not one of a VGG.",
        ]  # fmt: skip
    for experiment, found in rows.groupby("experiment", sort=False):
        lines += ["", f"## {TITLES[experiment]}", "", *table(found)]
        if experiment in RIVAL:
            lines += ["", *differences(found, RIVAL[experiment])]
    draw(rows)
    pictures = [f"{network}-{name}.png" for network in rows.network.unique() for name in ("straight", "trained")]
    lines += ["", "## Pictures", "", *(f"![{name.removesuffix('.png')}]({name})" for name in pictures)]
    lines += ["", "## Layers at 0.5 of multiply-adds, VGG, seed 0", "", *layers(folder, data)]
    (OUT / "cpu.md").write_text("\n".join(lines).rstrip() + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
