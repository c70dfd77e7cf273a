"""The CUDA kernels on the CPU (emulation.h), compared with the definition in float64: emulated.cpp.

Every path, layout and element type, off every tile edge; infinities and NaNs; wild orders; more than 2^31 elements.
"""

import subprocess

import pytest

SECTIONS = ("kernels", "wild_order", "large")


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_kernels_equal_the_definition(programs, dtype, section):
    run(programs[dtype], section)


def test_tf32_kernels_equal_the_definition(programs):
    run(programs["float32"], "tf32")


def run(program, section):
    done = subprocess.run([program, section], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failures" in done.stdout
