"""Curves and areas of active.sh: test accuracy over labels by rule, means and bands over seeds, and seconds a query.

python benchmarks/active_report.py RUNS
"""

import csv
import json
import sys
from pathlib import Path
from statistics import mean, stdev

import pandas
import yaml
from timing import heading

from multipath_gcn.report import paired_difference
from multipath_gcn.report.learning_curves import plot_learning_curves

OUT = Path(__file__).parent / "results" / "active"


def main(runs: Path) -> None:
    rows, curves = [], {}
    for path in sorted(runs.rglob("result.json")):
        result = json.loads(path.read_text())
        task = yaml.safe_load((path.parent / "config.yaml").read_text())["task"]
        panel = " ".join(filter(None, (result["data"], result["label"])))
        with (path.parent / "history.csv").open(newline="") as file:
            history = list(csv.DictReader(file))
        curve = [float(row["labels"]) for row in history], [float(row["test"]) for row in history]
        curves.setdefault(panel, {}).setdefault(task["query"], []).append(curve)
        numbers = {"seed": result["seed"], "area": result["test"], "last": result["last_round"]["test"]}
        rows.append({"data": panel, "rule": task["query"]} | numbers | {"query_s": result["seconds_per_query"]})
    if not rows:
        raise ValueError(f"RUNS must hold runs of active.sh, got none in {runs}")
    if few := [f"{row['data']} {row['rule']}" for row in rows if len(curves[row["data"]][row["rule"]]) < 2]:
        raise ValueError(f"RUNS must hold two seeds or more of every rule, got one of {few[0]}")
    OUT.mkdir(parents=True, exist_ok=True)
    frame = pandas.DataFrame(rows).sort_values(["data", "rule", "seed"])
    frame.to_csv(OUT / "runs.csv", index=False, float_format="%.5g")
    plot_learning_curves(curves, OUT / "curves.png")
    lines = heading("Active learning", "benchmarks/active.sh")
    for data, of_data in frame.groupby("data", sort=True):
        random = of_data[of_data.rule == "random"]["area"].tolist()
        lines += [
            f"## {data}",
            "",
            "| rule | seeds | area % | minus random | last round % | s per query |",
            "|---" * 6 + "|",
        ]
        found = [(rule, of_rule) for rule, of_rule in of_data.groupby("rule")]
        for rule, of_rule in sorted(found, key=lambda pair: -pair[1]["area"].mean()):
            areas, last = 100 * of_rule["area"], 100 * of_rule["last"]
            middle, low, high = paired_difference(areas.tolist(), [100 * value for value in random])
            difference = "" if rule == "random" else f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"
            cells = rule, len(areas), f"{mean(areas):.2f} ± {stdev(areas):.2f}", difference
            lines.append(
                "| " + " | ".join(map(str, (*cells, f"{mean(last):.2f}", f"{of_rule['query_s'].mean():.3f}"))) + " |"
            )
        lines.append("")
    (OUT / "README.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
