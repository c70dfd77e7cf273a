#!/usr/bin/env bash
# OGB's protocol (test score at the best validation epoch) on Cora and CiteSeer, 10 seeds, every model with the recipe
# that scored best on validation. Writes benchmarks/results/ogb_protocol. Needs MULTIPATH_GCN_DATA or a network.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/ogb_protocol}
for data in cora citeseer; do
    recipes=tuned/${data}_multipath,tuned/${data}_gcn2,tuned/${data}_gcn,tuned/${data}_resgcn
    multipath-gcn -m experiment=$recipes 'seed=range(0,10)' runs="$runs"
done
multipath-gcn-report "$runs" --baseline gcn --baseline resgcn --baseline gcn2 --out benchmarks/results/ogb_protocol
