#!/usr/bin/env bash
# Rules of active learning, 5 seeds, on graphs (digits, Cora, CiteSeer) and images (digits, 3,000 of CIFAR-10), by ensembles
# of eight networks trained as one; on the digits' graph also by dropout and by paths. Writes benchmarks/results/active. Needs
# MULTIPATH_GCN_DATA or a network; about 45 minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/active}
run() { multipath-gcn -m task=active 'seed=range(0,5)' launcher=joblib runs="$runs" "$@"; }
rules=task.query=random,entropy,bald,prior_mass,diameter,gibbs_vote
run data=digits_pool,cora,citeseer "$rules"
run data=digit_images model=vgg_mini 'model.stages=[[8],[16]]' optimizer.lr=0.005 task.batch_size=64 "$rules"
run data=cifar10 model=vgg_mini 'model.stages=[[8],[16],[32]]' optimizer.lr=0.005 task.batch_size=64 task.most=1000 \
    task.initial=100 task.count=50 fit.epochs=9 "$rules"
run data=digits_pool task.hypotheses=dropout label=dropout "$rules"
run data=digits_pool task.hypotheses=paths label=paths model=multipath "model.paths=[[32],[32],[32],[32,32],[32,32]]" "$rules"
python benchmarks/active_report.py "$runs"
