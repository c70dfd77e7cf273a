#!/usr/bin/env bash
# The CUDA kernels on whatever GPU is at hand: build, test, sanitize, benchmark. Needs PyTorch with CUDA, nvcc of the same
# CUDA, pytest, hypothesis, setuptools and pybind11; compute-sanitizer too, where it can run.
#   benchmarks/gpu.sh               everything, in under 30 minutes
#   benchmarks/gpu.sh build test    only these of the stages build, test, sanitize, graphs, convolutions, quick, full
# Ends at the first wrong result. Writes machine.txt, a log per stage and the benchmark's tables to OUT
# (benchmarks/results/gpu). PYTHON chooses the interpreter, SECONDS_EACH how long one run of the benchmark may take (what it
# has measured by then is kept), and BENCHMARK holds further options for it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-benchmarks/results/gpu}
python=${PYTHON:-python3}
each=${SECONDS_EACH:-150}
mkdir -p "$out"
export PATH="$PATH:${CUDA_HOME:-/usr/local/cuda}/bin" PYTHONUNBUFFERED=1

logged() { # name, then a command: its output on the screen and in the log
    local log="$out/$1.txt"
    shift
    echo "+ $*" | tee -a "$log"
    "$@" 2>&1 | tee -a "$log"
}

machine() {
    nvidia-smi
    nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,clocks.max.mem,power.limit --format=csv
    nvcc --version
    "$python" -c "import sys, torch; print(sys.version); print(torch.__config__.show()); print(torch.cuda.get_device_properties(0))"
    git log -1 --format=%H 2>/dev/null || true
}

build() {
    local architecture
    architecture=$("$python" -c "import torch; print('{}.{}'.format(*torch.cuda.get_device_capability()))")
    TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$architecture} logged build "$python" -m pip install -q --no-build-isolation --no-deps -e .
    logged build "$python" -c "
import torch, multipath_gcn
print(multipath_gcn.build_info())
assert torch.cuda.is_available(), 'PyTorch sees no GPU'
from multipath_gcn import _native
_native.load()
assert '_C_cuda' in _native.LIBRARIES, 'the CUDA kernels were not built'"
}

run_tests() {
    logged test "$python" -m pytest tests/cuda -k "not emulated" -rs
    if grep -q "no CUDA device" "$out/test.txt"; then
        echo "tests were skipped for want of a GPU" >&2
        return 1
    fi
}

sanitize() {
    if ! compute-sanitizer --tool memcheck "$python" -c "import torch; torch.zeros(1).cuda()" >"$out/sanitize.txt" 2>&1; then
        echo "skipped: compute-sanitizer does not run here (see $out/sanitize.txt)" | tee -a "$out/sanitize.txt"
        return
    fi
    for tool in memcheck racecheck; do
        for tf32 in 0 1; do
            MULTIPATH_GCN_TF32=$tf32 logged sanitize compute-sanitizer --tool $tool --error-exitcode 9 "$python" tests/cuda/small_cases.py
        done
    done
}

benchmark() { # options; SECONDS_EACH is enough or what was measured by then is kept, but a wrong result ends it all
    local status=0
    # shellcheck disable=SC2086
    logged benchmark timeout "$each" "$python" benchmarks/channel_transform.py --device cuda --out "$out" "$@" ${BENCHMARK:-} || status=$?
    if [ $status = 124 ]; then echo "stopped after $each s" | tee -a "$out/benchmark.txt"; else return $status; fi
}

graphs() { # propagation, and epochs of a multipath network
    logged graphs "$python" benchmarks/propagation.py --device cuda --out "$out"
    logged graphs "$python" benchmarks/multipath_epoch.py --device cuda --environments default --rounds 1 --name cuda_epoch --out "$out"
}

convolutions() { # grouped, against cuDNN
    for dtype in float32 bfloat16; do
        logged convolutions "$python" benchmarks/grouped_conv2d_dispatch.py --device cuda --dtype $dtype --out "$out/grouped_conv2d_dispatch"
    done
}

quick() {
    for dtype in float32 bfloat16; do
        for format in contiguous channels_last; do
            benchmark --quick --dtype $dtype --memory-format $format
        done
    done
    MULTIPATH_GCN_TF32=1 benchmark --quick --dtype tf32
}

full() {
    for dtype in float32 bfloat16; do
        benchmark --dtype $dtype --shapes 'n128|rows' --seconds 0.02
    done
}

stages=("$@")
[ $# -gt 0 ] || stages=(build test sanitize graphs convolutions quick full)
for stage in "${stages[@]}"; do
    case $stage in
        build | test | sanitize | graphs | convolutions) rm -f "$out/$stage.txt" ;;
        quick | full) rm -f "$out/benchmark.txt" ;;
        *) echo "stages are build, test, sanitize, graphs, convolutions, quick and full, got $stage" >&2 && exit 2 ;;
    esac
done
machine >"$out/machine.txt" 2>&1 || { cat "$out/machine.txt" >&2 && exit 1; }
for stage in "${stages[@]}"; do
    echo "== $stage"
    if [ "$stage" = test ]; then run_tests; else "$stage"; fi
done
echo "all of ${stages[*]} is right; results are in $out"
