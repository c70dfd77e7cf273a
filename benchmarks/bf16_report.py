"""Paired differences of test scores, bf16-mixed minus float32, over seeds: called by bf16.sh.

python benchmarks/bf16_report.py RUNS
"""

import json
import sys
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t

OUT = Path(__file__).parent / "results" / "bf16" / "cpu.md"


def main(runs: Path) -> None:
    lines = ["`benchmarks/bf16.sh`: test % at the best validation epoch, ± the unbiased deviation over seeds", ""]
    lines += ["| data | model | seeds | float32 | bf16-mixed | bf16 minus float32, 95 % |", "|---|---|---|---|---|---|"]
    scores: dict[tuple, dict] = {}
    for file in sorted(runs.glob("**/result.json")):
        result = json.loads(file.read_text())
        scores.setdefault((result["data"], result["model"]), {})[result["label"], result["seed"]] = 100 * result["test"]
    for (data, model), found in scores.items():
        seeds = sorted(seed for label, seed in found if label == "32-true")
        wide, narrow = ([found[label, seed] for seed in seeds] for label in ("32-true", "bf16-mixed"))
        gains = [b - a for a, b in zip(wide, narrow, strict=True)]
        reach = t.ppf(0.975, len(gains) - 1) * stdev(gains) / len(gains) ** 0.5
        cells = [f"{mean(values):.2f} ± {stdev(values):.2f}" for values in (wide, narrow)]
        interval = f"{mean(gains):+.2f} [{mean(gains) - reach:+.2f}, {mean(gains) + reach:+.2f}]"
        lines.append(f"| {data} | {model} | {len(seeds)} | {' | '.join(cells)} | {interval} |")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
