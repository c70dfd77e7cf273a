#!/usr/bin/env bash
# The paper's comparison on Cora, CiteSeer, the digits' graph and a synthetic graph of 10,000 nodes: three networks, ten
# seeds, 120 runs from one command. Writes benchmarks/results/paper_table. Needs MULTIPATH_GCN_DATA or a network. About 7
# minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/paper_table}
out=benchmarks/results/paper_table
start=$SECONDS
multipath-gcn experiment=paper_table launcher=joblib runs="$runs"
swept=$SECONDS
multipath-gcn-report "$runs" --baseline paper_plain --out $out
echo "120 runs on $(nproc) cores: sweep $((swept - start)) s, report $((SECONDS - swept)) s (\`benchmarks/paper_table.sh\`)" \
    > $out/time.md
