#!/usr/bin/env bash
# What bfloat16 costs in accuracy: the paper's network on CiteSeer and the multipath network on the synthetic graph, ten
# seeds in float32 and the same ten in bf16-mixed. Writes benchmarks/results/bf16/cpu.md. Needs the Planetoid files.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/bf16}
for precision in 32-true bf16-mixed; do
    multipath-gcn -m experiment=paper_citeseer precision=$precision label=$precision 'seed=range(0,10)' runs="$runs"
    multipath-gcn -m data=synthetic model=multipath fit.epochs=100 precision=$precision label=$precision 'seed=range(0,10)' \
        runs="$runs"
done
python benchmarks/bf16_report.py "$runs"
