"""What each recipe brings over none, a table for each graph, from the runs of recipes.sh: differences paired by seed,
95 % Student intervals.

python benchmarks/recipes_report.py RUNS
"""

import sys
from pathlib import Path
from statistics import mean, median, stdev

import pandas
from timing import heading

from multipath_gcn.report import Run, paired_difference, read_runs

OUT = Path(__file__).parent / "results" / "recipes"
HEAD = "| recipe | seeds | validation % | minus none | test % | minus none | parameters | s per epoch |\n"
HEAD += "|---" * 8 + "|"


def main(runs: Path) -> None:
    found, problems = read_runs([runs])
    if problems:
        raise ValueError(f"RUNS must hold complete runs only, got {problems}")
    OUT.mkdir(parents=True, exist_ok=True)
    for data in sorted({run.data for run in found}):
        _write(data, [run for run in found if run.data == data])


def _write(data: str, found: list[Run]) -> None:
    ours: dict[str, dict[int, Run]] = {}
    for run in found:
        ours.setdefault(run.label, {})[run.seed] = run
    epochs = max(run.best_epoch if run.curve is None else len(run.curve) for run in ours["plain"].values())
    lines = [*heading(f"Recipes, each alone: {data}, {epochs} epochs", "benchmarks/recipes.sh"), HEAD]
    for label in sorted(ours, key=lambda label: -mean(run.valid for run in ours[label].values())):
        lines.append(_row(label, ours[label], ours["plain"]))
    lines += ["", "Runs of one thread each, two at a time: seconds are rough.", ""]
    rows = [{"recipe": run.label, "seed": run.seed, "valid": run.valid, "test": run.test} for run in found]
    pandas.DataFrame(rows).sort_values(["recipe", "seed"]).to_csv(OUT / f"{data}.csv", index=False)
    (OUT / f"{data}.md").write_text("\n".join(lines))
    print("\n".join(lines))


def _row(label: str, runs: dict[int, Run], plain: dict[int, Run]) -> str:
    seeds = sorted(runs)
    cells = [label, str(len(seeds))]
    for score in ("valid", "test"):
        values, theirs = ([100 * getattr(r[seed], score) for seed in seeds] for r in (runs, plain))
        middle, low, high = paired_difference(values, theirs)
        cells += [f"{mean(values):.2f} ± {stdev(values):.2f}"]
        cells += ["" if label == "plain" else f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"]
    cells += [f"{runs[0].parameters:,}", f"{median(run.seconds_per_epoch for run in runs.values()):.3f}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
