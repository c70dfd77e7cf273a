#!/usr/bin/env bash
# DSXplore's design space on CIFAR-10: a narrow MobileNet whose 1x1 convolutions are dense, grouped or sliding, and one of
# standard convolutions. 51 runs, two at a time on two cores. Run again, it does what is missing. Then a table and a plot.
#   bash benchmarks/design_space.sh [RUNS]
set -euo pipefail
runs=${1:-runs/design_space}
sweep() { multipath-gcn -m launcher=joblib runs="$runs" "$@"; }
for seed in 0 1 2; do
    sweep experiment=design_space/standard,design_space/separable seed=$seed
    sweep experiment=design_space/grouped model.convolution.groups=2,4,8 seed=$seed
    sweep experiment=design_space/sliding model.convolution.groups=2,4,8 model.convolution.overlap=0,0.25,0.5,0.75 seed=$seed
done
python benchmarks/design_space.py "$runs"
