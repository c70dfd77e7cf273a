#!/usr/bin/env bash
# Narrow VGG16 and ResNet18 on CIFAR-10 with standard, depthwise-separable and sliding convolutions, as design_space.sh has
# MobileNet: 18 runs, two at a time on two cores. Run again, it does what is missing. Then a table.
#   bash benchmarks/image_networks.sh [RUNS]
set -euo pipefail
runs=${1:-runs/image_networks}
for seed in 0 1 2; do
    multipath-gcn -m launcher=joblib runs="$runs" model=vgg,resnet model.width=0.25 seed=$seed \
        experiment=design_space/standard,design_space/separable,design_space/sliding
done
python benchmarks/design_space.py "$runs" --out benchmarks/results/image_networks
