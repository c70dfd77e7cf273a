"""Which setting of a search is best: one row per data set, model and value of the options that were varied.

    python benchmarks/search_table.py RUNS OUT.csv model.dropout model.network.dropout ...

An option that a model does not have stays empty. Scores are means over seeds at the best validation epoch, in percent.
"""

import sys
from pathlib import Path

import pandas
from omegaconf import OmegaConf

from multipath_gcn.report import read_runs


def main(runs: Path, out: Path, *options: str) -> None:
    found, problems = read_runs([runs])
    if problems:
        raise ValueError(f"RUNS must hold complete runs only, got {problems}")
    rows = []
    for run in found:
        config = OmegaConf.load(run.path / "config.yaml")
        values = {option: OmegaConf.select(config, option) for option in options}
        rows.append(
            {"data": run.data, "model": run.model} | values | {"valid": 100 * run.valid, "test": 100 * run.test}
        )
    key = ["data", "model", *options]
    table = pandas.DataFrame(rows).groupby(key, dropna=False, sort=False)
    table = table.agg(seeds=("valid", "size"), valid=("valid", "mean"), test=("test", "mean")).reset_index()
    table = table.sort_values(["data", "model", "valid"], ascending=[True, True, False], kind="stable")
    table.to_csv(out, index=False, float_format="%.6g")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
