#!/usr/bin/env bash
# Every recipe alone, on Cora and CiteSeer (10 seeds) and on the synthetic graph of ogbn-arxiv's size (2 seeds, 10 epochs,
# 64 channels). Writes benchmarks/results/recipes. Needs MULTIPATH_GCN_DATA or a network. Half an hour on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/recipes}
recipe=recipe=plain,label_reuse,correct_and_smooth,residual,batch_norm,layer_norm,path_dropout,hop_path,moving_average,consistency
multipath-gcn -m data=cora,citeseer $recipe 'seed=range(0,10)' optimizer.weight_decay=0.0005 launcher=joblib runs="$runs"
multipath-gcn -m data=synthetic_arxiv $recipe 'seed=range(0,2)' fit.epochs=10 launcher=joblib runs="$runs"
python benchmarks/recipes_report.py "$runs"
