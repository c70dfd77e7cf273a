"""Tiles, splits and copies of a launch, on sizes beyond 2^31 elements too: launch_shape.cpp."""

import subprocess


def test_launch_shape(compile_all, tmp_path):
    program = tmp_path / "launch_shape"
    compile_all([["-fsanitize=undefined", "tests/cuda/launch_shape.cpp", "-o", program]])
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
