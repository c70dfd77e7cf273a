#!/usr/bin/env bash
# The search behind conf/experiment/tuned: eight settings for every model, three seeds each, the same budget for all.
# The setting with the best mean validation score (of equals the first tried) goes into conf/experiment/tuned and
# is run with ten seeds by ogb_protocol.sh. Writes benchmarks/results/tune_citation. Two runs at a time, one thread each: about 30 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
runs=${RUNS:-runs/citation}
search() { # data, model, where its options are, the fourth thing to vary
    multipath-gcn -m experiment="tuned/$1_$2" launcher=joblib seed=0,1,2 runs="$runs" \
        "$3.dropout=0.5,0.8" "$3.input_dropout=0.5,0.8" "$4"
}
for data in cora citeseer; do
    search $data multipath model model.readout=linear,gcn
    search $data gcn2 model optimizer.weight_decay=0.0005,0.001
    search $data gcn model.network model.network.readout=linear,gcn
    search $data resgcn model.network model.network.readout=linear,gcn
done
mkdir -p benchmarks/results/tune_citation
python benchmarks/search_table.py "$runs" benchmarks/results/tune_citation/settings.csv model.dropout \
    model.network.dropout model.input_dropout model.network.input_dropout model.readout model.network.readout \
    optimizer.weight_decay
