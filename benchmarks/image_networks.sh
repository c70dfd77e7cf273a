#!/usr/bin/env bash
# Narrow VGG16 and ResNet18 on CIFAR-10 with standard, depthwise-separable and sliding convolutions, as design_space.sh has
# MobileNet: 6 runs for each seed, two at a time on two cores. Run again, it does what is missing. Then a table.
#   bash benchmarks/image_networks.sh [RUNS [SEEDS]]        # SEEDS: "0 1 2", or 0 alone, about 30 minutes
set -euo pipefail
runs=${1:-runs/image_networks} seeds=${2:-0}
sweep() { multipath-gcn -m launcher=joblib runs="$runs" model=resnet,vgg "$@"; }
for seed in $seeds; do
    sweep experiment=design_space/standard seed="$seed"
    sweep experiment=design_space/separable model/convolution=separable seed="$seed"
    sweep experiment=design_space/sliding model.convolution.groups=4 model.convolution.overlap=0.5 seed="$seed"
done
python benchmarks/design_space.py "$runs" --out benchmarks/results/image_networks
