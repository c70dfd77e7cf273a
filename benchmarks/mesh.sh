#!/usr/bin/env bash
# Gauge-equivariant networks against an isotropic one of as many parameters on generated meshes, 3 seeds. Writes
# benchmarks/results/mesh. About ten minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
runs="${RUNS:-runs/mesh}"
seeds='seed=0,1,2'
multipath-gcn -m task=mesh model=gauge_equivariant,isotropic_mesh "$seeds" launcher=joblib runs="$runs"
multipath-gcn -m task=mesh label=gated model.nonlinearity=gated "$seeds" launcher=joblib runs="$runs"
multipath-gcn -m task=mesh label='two paths' 'model.paths=[[2,2],[1]]' "$seeds" launcher=joblib runs="$runs"
multipath-gcn -m task=mesh label=sliding model.transform=sliding model.groups=2 "$seeds" launcher=joblib runs="$runs"
multipath-gcn-report "$runs" --out "$runs/report"
mkdir -p benchmarks/results/mesh
cp "$runs"/report/report.csv benchmarks/results/mesh/cpu.csv
plain=$(grep -L 'label: [a-z]' "$runs"/mesh_gradients/gauge_equivariant-*/seed0/config.yaml)
cp "$(dirname "$plain")/figure.png" benchmarks/results/mesh/figure.png
