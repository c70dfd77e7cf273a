#!/usr/bin/env bash
# Every recipe alone, on the graphs that are named, or on all: Cora and CiteSeer (10 seeds), and the synthetic graph of
# ogbn-arxiv's size (3 seeds, 50 epochs). Writes a table for each into benchmarks/results/recipes. Needs
# MULTIPATH_GCN_DATA or a network. Half an hour on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/recipes}
recipe=recipe=plain,label_reuse,correct_and_smooth,residual,batch_norm,layer_norm,path_dropout,hop_path,moving_average,consistency
[ $# -gt 0 ] || set -- cora citeseer synthetic_arxiv
for graph; do
    case $graph in
    synthetic_arxiv) options=('seed=range(0,3)' fit.epochs=50) ;;
    *) options=('seed=range(0,10)' optimizer.weight_decay=0.0005) ;;
    esac
    multipath-gcn -m data="$graph" $recipe "${options[@]}" launcher=joblib runs="$runs"
done
python benchmarks/recipes_report.py "$runs"
