#!/usr/bin/env bash
# A synthetic graph of ogbn-arxiv's size, the multipath network and recipe for ogbn-arxiv, 3 epochs end to end.
# Writes benchmarks/results/synthetic_arxiv. Needs no download.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/synthetic_arxiv}
multipath-gcn experiment=synthetic_arxiv runs="$runs"
multipath-gcn-report "$runs" --out benchmarks/results/synthetic_arxiv
