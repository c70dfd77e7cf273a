#!/usr/bin/env bash
# Dense, grouped and sliding-channel transforms in the paths of one and the same multipath network: accuracy,
# parameters and seconds per epoch. Cora and CiteSeer with OGB's protocol, 10 seeds, in the setting that
# tune_citation.sh found for the dense network; a synthetic graph of ogbn-arxiv's size for a few epochs.
# Writes benchmarks/results/transforms. Needs MULTIPATH_GCN_DATA or a network. SEEDS, EPOCHS (of the synthetic graph)
# and further options of multipath-gcn shorten it: SEEDS=1 EPOCHS=1 benchmarks/transforms.sh fit.epochs=3
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/transforms}
each() { # command, then the experiment without its transform; the rest goes to every run
    local base=$1
    shift
    multipath-gcn -m experiment="$base" runs="$runs" "$@"
    multipath-gcn -m experiment="${base}_grouped" model.groups=2,4 runs="$runs" "$@"
    multipath-gcn -m experiment="${base}_sliding" model.groups=2,4 model.overlap=0.25,0.5 runs="$runs" "$@"
}
for data in cora citeseer; do # two runs at a time, one thread each
    OMP_NUM_THREADS=1 each tuned/${data}_multipath "seed=range(0,${SEEDS:-10})" launcher=joblib "$@"
done
each synthetic_arxiv fit.epochs="${EPOCHS:-3}"
multipath-gcn-report "$runs" --out "${OUT:-benchmarks/results/transforms}"
