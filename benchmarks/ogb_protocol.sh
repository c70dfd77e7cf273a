#!/usr/bin/env bash
# OGB's protocol (test score at the best validation epoch) on Cora and CiteSeer, 10 seeds, every model with the setting
# that tune_citation.sh found best on validation. Writes benchmarks/results/ogb_protocol.
# Needs MULTIPATH_GCN_DATA or a network. Two runs at a time, one thread each: about 10 minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
runs=${RUNS:-runs/ogb_protocol}
for data in cora citeseer; do
    recipes=tuned/${data}_multipath,tuned/${data}_gcn2,tuned/${data}_gcn,tuned/${data}_resgcn
    multipath-gcn -m experiment=$recipes 'seed=range(0,10)' launcher=joblib runs="$runs"
done
multipath-gcn-report "$runs" --baseline gcn --baseline resgcn --baseline gcn2 --out benchmarks/results/ogb_protocol
