#!/usr/bin/env bash
# Temporally folded networks of standard, separable and sliding convolutions, an LSTM and a ConvLSTM with the parameters
# of the first, on rows and strokes of scikit-learn's digits: 3 seeds, 36 runs of one thread, one after the other. The
# epochs of an LSTM are cheap: it is trained for 100, too. Learning rates: the best of 0.01, 0.03, 0.06 and 0.1, and of 0.2
# and 0.4 as far as the best stood at the end, on validation sequences, seed 10, for each network (folded ones: standard), data
# set and number of epochs; benchmarks/results/sequence/learning_rates.csv has what they gave.
# Run again, it does what is missing.
#   bash benchmarks/sequence.sh [RUNS]
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs/sequence}
sweep() { OMP_NUM_THREADS=1 multipath-gcn -m task=sequence 'seed=range(0,3)' threads=1 runs="$runs" "$@"; }
folded() {
    for kind in standard separable separable_sliding; do
        sweep model/convolution=$kind "label=folded ${kind/_/ }" "$@"
    done
}
strokes=(data=digit_strokes hidden_channels=16 fit.epochs=8)
sweep model=lstm label=LSTM optimizer.lr=0.2
sweep model=lstm "label=LSTM 100 epochs" optimizer.lr=0.06 fit.epochs=100
sweep model=conv_lstm label=ConvLSTM optimizer.lr=0.2
folded optimizer.lr=0.03
sweep "${strokes[@]}" model=lstm label=LSTM optimizer.lr=0.1
sweep "${strokes[@]}" model=lstm "label=LSTM 100 epochs" optimizer.lr=0.1 fit.epochs=100
sweep "${strokes[@]}" model=conv_lstm label=ConvLSTM optimizer.lr=0.1
folded "${strokes[@]}" optimizer.lr=0.1
python benchmarks/sequence.py "$runs"
