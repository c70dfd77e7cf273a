#!/usr/bin/env bash
# The paper's own protocol (best test epoch, Adam 0.01, 100 epochs, nothing else) on Cora and CiteSeer, 10 seeds, with
# row-normalised features as in the original loader and with raw ones. Writes benchmarks/results/paper_protocol.
# Needs MULTIPATH_GCN_DATA or a network. About 5 minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/paper_protocol}
for features in "data.normalize_features=true label=paper" "data.normalize_features=false label=paper_raw"; do
    for data in "cora model=paper_skip" "citeseer model=paper_twin"; do
        multipath-gcn -m experiment=paper_$data,paper_plain,paper_residual 'seed=range(0,10)' $features runs="$runs"
    done
done
multipath-gcn-report "$runs" --protocol both --baseline paper_plain --baseline paper_residual \
    --out benchmarks/results/paper_protocol
