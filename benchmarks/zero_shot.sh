#!/usr/bin/env bash
# Zero-shot digits by seven-segment attributes: five losses, each plain, with groups of attributes, and with adversaries
# between the groups; four choices of unseen digits, five seeds. Writes benchmarks/results/zero_shot. 300 runs of some
# seconds on one thread.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/zero_shot}
losses=ale,devise,eszsl,sje,softmax
# Every pair of digits but 2 and 7 is tested once, and validates the pair before; see docs/zero-shot.md for the choice.
for unseen in "5,8 0,1" "3,4 5,8" "6,9 3,4" "0,1 6,9"; do
    read -r valid test <<<"$unseen"
    digits=("data.valid_classes=[$valid]" "data.test_classes=[$test]")
    run=(multipath-gcn -m task=zero_shot "${digits[@]}" "task.loss=$losses" 'seed=range(0,5)' threads=1 "runs=$runs")
    "${run[@]}" label=plain task.groups=1 optimizer.lr=0.01
    "${run[@]}" label=groups task.groups=3 task.adversary=0 optimizer.lr=0.01
    "${run[@]}" label=adversaries task.groups=3 task.adversary=0.5 optimizer.lr=0.003
done
python benchmarks/zero_shot_report.py "$runs"
