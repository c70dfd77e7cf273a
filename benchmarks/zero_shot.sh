#!/usr/bin/env bash
# Zero-shot digits by seven-segment attributes: five losses, each plain, with groups of attributes (the same network, its
# adversaries' gradients times 0), and with adversaries; four choices of unseen digits, five seeds. Every way is trained at
# two learning rates, of which zero_shot_report.py takes the one that is better on the digits to validate. 600 runs of some
# seconds, two at a time on one thread each: 15 minutes. Writes benchmarks/results/zero_shot. Run again, it does what is
# missing.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-runs/zero_shot}
losses=ale,devise,eszsl,sje,softmax
export OMP_NUM_THREADS=1
# Digit 2 alone lacks segment c, so that it must be trained on; of the others, all but 7 are tested once.
at_rate() {
    for unseen in "5,8 0,1" "3,4 5,8" "6,9 3,4" "0,1 6,9"; do
        read -r valid test <<<"$unseen"
        digits=("data.valid_classes=[$valid]" "data.test_classes=[$test]")
        run=(multipath-gcn -m task=zero_shot "${digits[@]}" "task.loss=$losses" 'seed=range(0,5)' threads=1)
        run+=("optimizer.lr=$1" "runs=$runs")
        "${run[@]}" label=plain task.groups=1
        "${run[@]}" label=groups task.groups=3 task.adversary=0
        "${run[@]}" label=adversaries task.groups=3 task.adversary=0.5
    done
}
at_rate 0.003 &
other=$!
at_rate 0.01
wait $other
python benchmarks/zero_shot_report.py "$runs"
